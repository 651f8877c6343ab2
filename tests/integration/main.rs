//! The house as a whole, from outside: the built program and the library's front door, on models that llama.cpp really runs.

mod chat;
mod contract;
mod exact;
mod flow;
mod lora;
mod methods;
mod mistakes;
mod path;
mod reference;
mod search;
mod serve;
mod sizes;
mod support;
mod swaps;
mod vocabulary;
