//! The house as a whole, from outside: the built program and the library's front door, on models that llama.cpp really runs.

mod contract;
mod exact;
mod flow;
mod lora;
mod mistakes;
mod path;
mod reference;
mod search;
mod sizes;
mod support;
mod swaps;
mod vocabulary;
