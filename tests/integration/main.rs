//! The house as a whole, from outside: the built program and the library's front door, on models that llama.cpp really runs.

mod bench;
mod chat;
mod contract;
mod device;
mod exact;
mod flow;
mod lora;
mod mergekit_evolve;
mod methods;
mod mistakes;
mod path;
mod reference;
mod scoring;
mod search;
mod serve;
mod sizes;
mod support;
mod swaps;
mod vocabulary;
