//! What an image holds after a fill, and what an export leaves on disk.

use std::fs::{self, OpenOptions};
use std::time::{Duration, SystemTime};

use ggraft_kernels::GgmlType;
use rayon::ThreadPoolBuilder;

use super::{Image, ImageError, Pool, export};
use crate::gguf::tests::{Tiny, folder};
use crate::gguf::{Fault, Parent};
use crate::plan::tests::{Family, decode, drawn, recipe, stack};
use crate::plan::{Home, Plan, Siblings};

/// Two parents of the tiny llama's shape and one of another's.
fn family() -> Family {
    Family::of(&[&Tiny::llama(), &Tiny::llama()])
}

fn blend(a: f64, b: f64, more: &str) -> String {
    recipe("linear", &[("a.gguf", &format!("weight: {a}")), ("b.gguf", &format!("weight: {b}"))], more)
}

/// The whole file that llama.cpp would map.
fn image_of(plan: &Plan, parents: &[Parent]) -> Vec<u8> {
    let mut image = Image::in_memory(plan).unwrap();
    image.fill(plan, parents, &mut Pool::default()).unwrap();
    image.map.to_vec()
}

#[test]
fn shape_is_tensors_types_and_metadata_not_coefficients() {
    let family = family();
    let image = Image::in_memory(&family.plan(&blend(1.0, 2.0, ""))).unwrap();
    assert!(image.has_shape_of(&family.plan(&blend(3.0, -1.0, "parameters: {normalize: false}"))));
    let slerp = recipe("slerp", &[("a.gguf", ""), ("b.gguf", "")], "base_model: b.gguf\nparameters: {t: 0.4}");
    assert!(image.has_shape_of(&family.plan(&slerp)), "another method");
    assert!(!image.has_shape_of(&family.plan(&blend(1.0, 2.0, "out_type: f16"))), "another type");
    assert!(!image.has_shape_of(&family.plan(&stack(&[("a.gguf", 0, 2)]))), "copies keep their type");
    assert!(!image.has_shape_of(&family.plan(&stack(&[("a.gguf", 0, 2), ("b.gguf", 1, 2)]))), "another layer");
}

#[test]
fn fill_is_seen_through_the_path_that_llama_cpp_opens() {
    let family = family();
    let plan = family.plan(&blend(1.0, 2.0, ""));
    let mut image = Image::in_memory(&plan).unwrap();
    let cost = image.fill(&plan, family.parents(), &mut Pool::default()).unwrap();
    assert_eq!((cost.bytes_written, cost.bytes_read), (plan.written_bytes(), plan.source_bytes(family.parents())));
    let bytes = fs::read(image.path()).unwrap();
    assert_eq!(bytes.len() as u64, image.size());
    assert_eq!(bytes, image.map.to_vec());
    fs::write(family.folder.path().join("bare.gguf"), &bytes).unwrap();
    let merged = Parent::open(family.folder.path().join("bare.gguf")).unwrap();
    assert_eq!(merged.metadata().str("tokenizer.ggml.model"), Some("no_vocab"));
    assert_eq!(merged.arch_u32("vocab_size"), Some(8));
    let view = merged.tensor("blk.1.ffn_down.weight").unwrap();
    assert_eq!(decode(view.info.ty, view.data), family.merged(&plan, "blk.1.ffn_down.weight"));
}

#[test]
fn second_fill_leaves_exactly_the_bytes_of_a_fresh_image() {
    let family = family();
    let (first, second) = (family.plan(&blend(1.0, 2.0, "")), family.plan(&blend(5.0, 1.0, "")));
    let mut image = Image::in_memory(&first).unwrap();
    image.fill(&first, family.parents(), &mut Pool::default()).unwrap();
    image.fill(&second, family.parents(), &mut Pool::default()).unwrap();
    assert_eq!(image.map.to_vec(), image_of(&second, family.parents()));
    assert_ne!(image.map.to_vec(), image_of(&first, family.parents()));
    image.fill(&first, family.parents(), &mut Pool::default()).unwrap();
    assert_eq!(image.map.to_vec(), image_of(&first, family.parents()), "and back");
}

#[test]
#[should_panic(expected = "another shape")]
fn fill_of_another_shape_is_a_bug_that_does_not_go_unseen() {
    let family = family();
    let mut image = Image::in_memory(&family.plan(&blend(1.0, 2.0, ""))).unwrap();
    let _ = image.fill(&family.plan(&blend(1.0, 2.0, "out_type: f32")), family.parents(), &mut Pool::default());
}

#[test]
fn bytes_do_not_depend_on_the_number_of_threads() {
    let mut tiny = Tiny::llama();
    // Larger than one chunk and than one piece of the statistics, and no multiple of either.
    tiny.add("blk.0.ffn_up.weight", &[256, 1111], GgmlType::Q8_0);
    let models = [("a.gguf", ""), ("b.gguf", "weight: 0.7, density: 0.37")];
    let based = "base_model: a.gguf\nparameters: {rescale: true}";
    let slerp = recipe("slerp", &[("a.gguf", ""), ("b.gguf", "")], "base_model: a.gguf\nparameters: {t: 0.3}");
    for text in [blend(1.0, 2.0, ""), slerp, recipe("ties", &models, based), recipe("dare_ties", &models, based)] {
        let bytes = [1, 3].map(|threads| {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let family = Family::of(&[&tiny, &tiny]);
                image_of(&family.plan(&text), family.parents())
            })
        });
        assert!(bytes[0] == bytes[1], "{text}");
    }
}

#[test]
fn changed_parent_is_an_error_and_the_image_keeps_its_bytes() {
    for shrink in [true, false] {
        let family = family();
        let (first, second) = (family.plan(&blend(1.0, 2.0, "")), family.plan(&blend(5.0, 1.0, "")));
        let mut image = Image::in_memory(&first).unwrap();
        image.fill(&first, family.parents(), &mut Pool::default()).unwrap();
        let before = image.map.to_vec();
        let path = family.parents()[1].path();
        let file = OpenOptions::new().write(true).open(path).unwrap();
        if shrink {
            file.set_len(file.metadata().unwrap().len() - 1).unwrap();
        } else {
            file.set_modified(SystemTime::now() + Duration::from_secs(60)).unwrap();
        }
        match image.fill(&second, family.parents(), &mut Pool::default()).unwrap_err() {
            ImageError::Parent(error) => {
                assert_eq!(error.path, path);
                assert_eq!(matches!(error.fault, Fault::Shrunk { .. }), shrink, "{error}");
            }
            other => panic!("{other}"),
        }
        assert_eq!(image.map.to_vec(), before);
    }
}

/// Names of the files in the family's folder that are no parents.
fn others(family: &Family) -> Vec<String> {
    let names = fs::read_dir(family.folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !["a.gguf", "b.gguf"].contains(&name.as_str())).collect();
    names.sort();
    names
}

#[test]
fn exported_file_is_the_image_with_the_vocabulary() {
    let family = family();
    let plan = family.plan(&blend(1.0, 2.0, "chat_template: \"{{ messages }}\""));
    let path = family.folder.path().join("out.gguf");
    let cost = export(&plan, family.parents(), &path).unwrap();
    assert_eq!(cost.bytes_written, plan.data_bytes);
    assert_eq!(others(&family), ["out.gguf"]);

    let (file, image) = (fs::read(&path).unwrap(), image_of(&plan, family.parents()));
    let data = plan.data_bytes as usize;
    assert!(file[file.len() - data..] == image[image.len() - data..], "one data section");
    assert_eq!(file.len(), plan.full_header(family.parents()).unwrap().len() + data);

    let (merged, template) = (Parent::open(&path).unwrap(), &family.parents()[0]);
    for (key, value) in template.metadata().iter() {
        assert_eq!(merged.metadata().get(key), Some(value), "{key}");
    }
    assert_eq!(merged.metadata().str("tokenizer.chat_template"), Some("{{ messages }}"));
    assert_eq!(merged.metadata().len(), template.metadata().len() + 1);
    let names = |p: &Parent| p.tensors().iter().map(|t| t.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&merged), names(template));
}

#[test]
fn export_takes_the_vocabulary_of_tokenizer_source() {
    let mut other = Tiny::llama();
    other.metadata.insert("tokenizer.ggml.eos_token_id", 3u32);
    let family = Family::of(&[&Tiny::llama(), &other]);
    let path = family.folder.path().join("out.gguf");
    for (source, want) in [("a.gguf", 7), ("b.gguf", 3)] {
        let plan = family.plan(&blend(1.0, 2.0, &format!("tokenizer_source: {source}")));
        export(&plan, family.parents(), &path).unwrap();
        let merged = Parent::open(&path).unwrap();
        assert_eq!(merged.metadata().u32("tokenizer.ggml.eos_token_id"), Some(want), "{source}");
    }
}

#[test]
fn exported_split_set_is_one_file() {
    let folder = folder();
    let whole = Tiny::llama();
    for no in 0..2usize {
        let mut piece = whole.clone();
        piece.tensors = if no == 0 { whole.tensors[..4].to_vec() } else { whole.tensors[4..].to_vec() };
        if no > 0 {
            piece.metadata = Default::default();
        }
        piece.metadata.insert("split.no", no as u16);
        piece.metadata.insert("split.count", 2u16);
        piece.metadata.insert("split.tensors.count", whole.tensors.len() as i32);
        piece.write(&folder, &format!("set-{:05}-of-00002.gguf", no + 1));
    }
    let first = Parent::open(folder.path().join("set-00001-of-00002.gguf")).unwrap();
    let own: Vec<Vec<u8>> = first.tensors().iter().map(|t| first.tensor(&t.name).unwrap().data.to_vec()).collect();
    let siblings = Siblings::new(vec![first]).unwrap();
    let text = recipe("passthrough", &[("set-00001-of-00002.gguf", "")], "");
    let plan = siblings.plan(&crate::recipe::Recipe::parse(&text, "r.yaml".as_ref()).unwrap()).unwrap();
    let path = folder.path().join("out.gguf");
    export(&plan, siblings.parents(), &path).unwrap();
    let merged = Parent::open(&path).unwrap();
    assert!(merged.metadata().iter().all(|(key, _)| !key.starts_with("split.")));
    let data: Vec<Vec<u8>> = merged.tensors().iter().map(|t| merged.tensor(&t.name).unwrap().data.to_vec()).collect();
    assert_eq!(data, own);
}

#[test]
fn failed_export_leaves_nothing_behind() {
    let family = family();
    let plan = family.plan(&blend(1.0, 2.0, ""));
    let target = family.folder.path().join("out.gguf");
    fs::create_dir(&target).unwrap();
    match export(&plan, family.parents(), &target).unwrap_err() {
        error @ ImageError::Occupied { .. } => assert!(error.to_string().contains("out.gguf"), "{error}"),
        other => panic!("{other}"),
    }
    assert_eq!(others(&family), ["out.gguf"]);
    assert!(fs::read_dir(&target).unwrap().next().is_none(), "nor inside");

    let missing = family.folder.path().join("none").join("out.gguf");
    assert!(matches!(export(&plan, family.parents(), &missing), Err(ImageError::Write { .. })));
    assert_eq!(others(&family), ["out.gguf"]);
}

#[test]
fn export_from_a_changed_parent_keeps_the_file_that_was_there() {
    let family = family();
    let plan = family.plan(&blend(1.0, 2.0, ""));
    let target = family.folder.path().join("out.gguf");
    fs::write(&target, "GGUF of yesterday").unwrap();
    let file = OpenOptions::new().write(true).open(family.parents()[0].path()).unwrap();
    file.set_len(100).unwrap();
    assert!(matches!(export(&plan, family.parents(), &target), Err(ImageError::Parent(_))));
    assert_eq!(fs::read(&target).unwrap(), b"GGUF of yesterday");
    assert_eq!(others(&family), ["out.gguf"]);
}

#[test]
fn parent_replaced_by_a_rename_is_still_the_old_one() {
    let family = family();
    let plan = family.plan(&blend(1.0, 2.0, ""));
    let before = image_of(&plan, family.parents());
    let new = folder();
    let other = drawn(&Tiny::llama(), &new, "other.gguf");
    fs::rename(other.path(), family.parents()[0].path()).unwrap();
    assert!(image_of(&plan, family.parents()) == before);
}

fn over(path: &str) -> String {
    format!("path: [{path}]")
}

/// Fills a fresh image of `plan` with what `pool` lacks; checks that every shared tensor is then what it is planned to be.
fn filled_with(pool: &mut Pool, family: &Family, plan: &Plan) -> u64 {
    let cost = Image::in_memory(plan).unwrap().fill(plan, family.parents(), pool).unwrap();
    for tensor in &plan.tensors {
        if let Home::Pool(at) = tensor.home {
            let address = pool.address(at);
            let bytes = &pool.memory()[at as usize..][..tensor.info.bytes as usize];
            assert_eq!(bytes.as_ptr(), address);
            assert_eq!(decode(tensor.info.ty, bytes), family.merged(plan, &tensor.info.name), "{}", tensor.info.name);
        }
    }
    cost.bytes_written
}

#[test]
fn another_path_over_the_same_merge_computes_only_what_no_path_has_needed() {
    let family = family();
    let of = |b, path| family.plan(&blend(1.0, b, &over(path)));
    let mut pool = Pool::default();
    let first = of(2.0, "{layer: 0}, {layer: 0}");
    assert_eq!(filled_with(&mut pool, &family, &first), first.written_bytes());
    assert_eq!(filled_with(&mut pool, &family, &of(2.0, "{layer: 0}, {model: b.gguf}, {layer: 0}")), 0);
    let (whole, block) = (of(2.0, "{}"), of(2.0, "{layer: 1}"));
    let added = filled_with(&mut pool, &family, &whole);
    assert_eq!(added, whole.written_bytes() - first.written_bytes());
    assert_eq!(filled_with(&mut pool, &family, &block), 0);
    assert_eq!(filled_with(&mut pool, &family, &of(2.0, "{}, {layer: 0, scale: 2}")), 3 * 4, "the gains");

    let other = of(5.0, "{layer: 1}");
    assert_eq!(filled_with(&mut pool, &family, &other), other.written_bytes(), "another merge");
    assert_eq!(filled_with(&mut pool, &family, &block), block.written_bytes(), "and back");
    let wide = family.plan(&blend(1.0, 2.0, &format!("out_type: f16\n{}", over("{}"))));
    assert_eq!(filled_with(&mut pool, &family, &wide), wide.written_bytes(), "another layout");
    assert_eq!(filled_with(&mut pool, &family, &whole), whole.written_bytes());
}

#[test]
fn changed_parent_is_an_error_and_the_pool_keeps_its_bytes() {
    let family = family();
    let of = |b, more| family.plan(&blend(1.0, b, &format!("{}{more}", over("{layer: 1}, {}"))));
    let (first, others) = (of(2.0, ""), [of(5.0, ""), of(2.0, "\nout_type: f32")]);
    let mut pool = Pool::default();
    filled_with(&mut pool, &family, &first);
    let before = pool.memory().to_vec();
    let file = OpenOptions::new().write(true).open(family.parents()[1].path()).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(60)).unwrap();
    for plan in others {
        let mut image = Image::in_memory(&plan).unwrap();
        assert!(matches!(image.fill(&plan, family.parents(), &mut pool), Err(ImageError::Parent(_))));
        assert!(pool.memory() == before.as_slice() && pool.missing(&first).is_empty());
        assert_eq!(pool.missing(&plan).len(), plan.work().count(), "what failed is not taken for done");
    }
}

#[test]
fn releasing_shared_tensors_keeps_the_header_and_the_others() {
    let mut tiny = Tiny::llama();
    for block in 0..2 {
        // More than a page each, so that whole pages go.
        tiny.add(&format!("blk.{block}.ffn_up.weight"), &[32, 1000], GgmlType::F16);
        tiny.add(&format!("blk.{block}.attn_output.bias"), &[32], GgmlType::F32);
    }
    let family = Family::of(&[&tiny, &tiny]);
    let plan = family.plan(&blend(1.0, 2.0, &over("{layer: 0, scale: 2}, {model: a.gguf}, {layer: 1, scale: 3}")));
    let mut image = Image::in_memory(&plan).unwrap();
    // As if loading had touched every page.
    let header = image.header.len();
    image.map[header..].fill(0xAA);
    image.fill(&plan, family.parents(), &mut Pool::default()).unwrap();
    image.release_shared(&plan);
    assert!(image.map[..header] == plan.bare_header);
    let mut own = 0;
    for tensor in &plan.tensors {
        let bytes = &image.map[header + tensor.info.offset as usize..][..tensor.info.bytes as usize];
        if tensor.home == Home::Own {
            assert_eq!(decode(tensor.info.ty, bytes), family.merged(&plan, &tensor.info.name), "{}", tensor.info.name);
            own += 1;
        } else {
            assert!(bytes.iter().all(|byte| *byte == 0), "{}", tensor.info.name);
        }
    }
    assert_eq!(own, 4 * 3, "two scales and a bias for each hop");
}

#[test]
fn exported_path_has_every_hop_in_its_own_place() {
    let family = family();
    let plan = family.plan(&blend(1.0, 2.0, &over("{layer: 1}, {model: a.gguf}, {layer: 1, scale: 2}")));
    let path = family.folder.path().join("out.gguf");
    export(&plan, family.parents(), &path).unwrap();
    let merged = Parent::open(&path).unwrap();
    assert_eq!((merged.block_count(), merged.tensors().len()), (4, plan.tensors.len()));
    for info in merged.tensors() {
        let data = merged.tensor(&info.name).unwrap().data;
        assert_eq!(decode(info.ty, data), family.merged(&plan, &info.name), "{}", info.name);
    }
}
