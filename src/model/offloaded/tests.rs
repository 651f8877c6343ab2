//! Where tensors of paths go on a device: no hop twice, nothing sent that is there, and room for any path.

use std::collections::HashSet;
use std::ptr;

use ggraft_kernels::GgmlType;
use llama_cpp_sys_2 as sys;

use super::places::{Place, choose};
use crate::gguf::tests::Tiny;
use crate::model::weights::Room;
use crate::plan::tests::{Family, recipe};
use crate::plan::{Content, Plan, PlannedTensor};

/// A device that holds the blocks of one model.
struct Device {
    places: Vec<Place>,
}

impl Device {
    fn of(plan: &Plan) -> Self {
        let place = |tensor: &PlannedTensor| {
            let extents = std::array::from_fn(|i| tensor.info.shape.get(i).map_or(1, |n| *n as i64));
            let room = Room { buffer: 0, ty: tensor.info.ty as sys::ggml_type, extents };
            Place { room, address: ptr::null_mut(), content: None }
        };
        Self { places: plan.tensors.iter().map(place).collect() }
    }

    /// Goes over to `plan`; which tensors were sent.
    fn fill<'a>(&mut self, plan: &'a Plan, moves: impl Fn(usize) -> bool) -> Vec<&'a str> {
        let wanted: Vec<&PlannedTensor> = plan.tensors.iter().collect();
        let chosen = choose(&self.places, &wanted, moves);
        let mut sent = Vec::new();
        for (tensor, place) in wanted.iter().zip(&chosen) {
            let place = &mut self.places[*place];
            if !place.content.as_ref().is_some_and(|content| content.is_of(tensor)) {
                place.content = Some(Content::of(tensor));
                sent.push(&*tensor.info.name);
            }
        }
        for (tensor, place) in wanted.iter().zip(chosen) {
            let Place { room, content, .. } = &self.places[place];
            assert_eq!(room.ty, tensor.info.ty as sys::ggml_type, "{} reads a place of another type", tensor.info.name);
            let content = content.as_ref();
            assert!(content.is_some_and(|content| content.is_of(tensor)), "{} reads another tensor", tensor.info.name);
        }
        sent
    }
}

fn path(weight: f64, path: &str) -> String {
    let models = [("a.gguf", "weight: 1"), ("b.gguf", &*format!("weight: {weight}"))];
    recipe("linear", &models, &format!("out_type: same\npath: [{path}]"))
}

#[test]
fn what_hops_share_is_sent_once_and_what_is_there_is_not_sent_again() {
    let family = Family::of(&[&Tiny::llama(), &Tiny::llama()]);
    let plan = |text: &str| family.plan(&path(3.0, text));
    let first = plan("{layer: 0}, {layer: 0}, {model: b.gguf, layer: 1}, {layer: 1}");
    let mut device = Device::of(&first);
    let sent = device.fill(&first, |_| true);
    let blocks: HashSet<&str> = sent.iter().filter_map(|name| name.strip_prefix("blk.")?.split('.').next()).collect();
    assert_eq!(blocks, HashSet::from(["0", "2", "3"]), "the second hop is the first again: {sent:?}");

    // The same blocks in any order, and fewer of them, are there.
    for text in [
        "{layer: 1}, {model: b.gguf, layer: 1}, {layer: 0}, {layer: 1}",
        "{layer: 1}, {layer: 1}, {layer: 1}, {layer: 0}",
    ] {
        assert_eq!(device.fill(&plan(text), |_| true), [] as [&str; 0], "{text}");
    }
    let other = plan("{model: a.gguf, layer: 0}, {layer: 0}, {model: a.gguf, layer: 0}, {layer: 1}");
    let sent = device.fill(&other, |_| true);
    assert!(!sent.is_empty() && sent.iter().all(|name| name.starts_with("blk.0.")), "{sent:?}");
    // Another merge has nothing of this one but what no model changes.
    let another = family.plan(&path(4.0, "{layer: 0}, {layer: 0}, {layer: 1}, {layer: 1}"));
    let all = device.fill(&another, |_| true);
    assert!(all.contains(&"token_embd.weight") && all.iter().any(|name| name.starts_with("blk.2.")), "{all:?}");
}

#[test]
fn what_must_not_move_has_its_own_place() {
    let family = Family::of(&[&Tiny::llama(), &Tiny::llama()]);
    let plan = family.plan(&path(3.0, "{layer: 0}, {layer: 0}, {layer: 0}, {layer: 0}"));
    let mut device = Device::of(&plan);
    let wanted: Vec<&PlannedTensor> = plan.tensors.iter().collect();
    let fixed = plan.tensors.iter().position(|t| t.info.name == "blk.3.attn_q.weight").unwrap();
    let chosen = choose(&device.places, &wanted, |i| i != fixed);
    assert_eq!(chosen[fixed], fixed);
    assert_eq!(device.fill(&plan, |i| i != fixed).iter().filter(|name| name.ends_with("attn_q.weight")).count(), 2);
    let own: Vec<usize> = (0..wanted.len()).collect();
    assert_eq!(choose(&device.places, &wanted, |_| false), own);
}

#[test]
fn buffers_do_not_mix() {
    let family = Family::of(&[&Tiny::llama(), &Tiny::llama()]);
    let plan = family.plan(&path(3.0, "{layer: 0}, {layer: 0}, {layer: 0}, {layer: 0}"));
    let mut device = Device::of(&plan);
    for (place, tensor) in device.places.iter_mut().zip(&plan.tensors) {
        place.room.buffer =
            usize::from(tensor.info.name.starts_with("blk.2.") || tensor.info.name.starts_with("blk.3."));
    }
    let sent = device.fill(&plan, |_| true);
    let of = |block: &str| sent.iter().any(|name| name.starts_with(block));
    assert_eq!(["blk.0.", "blk.1.", "blk.2.", "blk.3."].map(of), [true, false, true, false], "once for each buffer");
}

#[test]
fn types_do_not_mix() {
    let family = Family::of(&[&Tiny::llama(), &Tiny::llama()]);
    let plan = |text: &str| family.plan(&path(3.0, text).replace("same", "q8_0"));
    let first = plan("{model: a.gguf, layer: 0}, {layer: 0}, {layer: 1}, {model: a.gguf, layer: 1}");
    let types = first.tensors.iter().filter(|t| t.info.name.ends_with("ffn_down.weight")).map(|t| t.info.ty);
    assert_eq!(types.collect::<Vec<_>>(), [GgmlType::Q4_0, GgmlType::Q8_0, GgmlType::Q8_0, GgmlType::Q4_0]);
    let mut device = Device::of(&first);
    device.fill(&first, |_| true);
    for (place, tensor) in device.places.iter_mut().zip(&first.tensors) {
        if tensor.info.name.starts_with("blk.1.") {
            place.content = None;
        }
    }
    // The last two hops are there already, where the first and the third were, so that the first hop's place is free.
    device.fill(&plan("{model: a.gguf, layer: 1}, {layer: 1}, {layer: 0}, {model: a.gguf, layer: 1}"), |_| true);
}
