//! The compiler: walks the merged model's tensors in file order and writes a program for each.

use std::collections::HashMap;
use std::sync::Arc;

use ggraft_kernels::{Program, Term};

use super::methods::{self, Case, Input};
use super::path::{ALIGNMENT, Merge};
use super::statistics::Statistics;
use super::vocabulary::{EMBEDDING, OUTPUT, TOKEN_TABLES, TOKENS, Vocabulary, followed};
use super::{Home, Lookup, Plan, PlanError, PlannedTensor, SourceRef, bare, schedule, source, types};
use crate::ggml::CODECS;
use crate::gguf::{Fault, Parent, Strings, TensorInfo, block_of};
use crate::recipe::{BlockSite, PathBlock, Recipe, Resolved, Site, TensorName};

/// Tables that follow from the architecture and are no weights: the same in all siblings, never blended.
const TABLES: [&str; 4] =
    ["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight", "attn_rot_embd"];

/// The seed of random masks.
const MASK_SEED: [u32; 2] = [0, 0];

pub(super) fn compile(
    recipe: &Recipe,
    parents: &[Parent],
    statistics: &Statistics,
    made: Option<Arc<Vocabulary>>,
) -> Result<Plan, PlanError> {
    let counts: Vec<u32> = parents.iter().map(Parent::block_count).collect();
    let layout = recipe.layout(&counts)?;
    let path = recipe.path_blocks(&counts, layout.len() as u32)?;
    let end = |block: Option<&PathBlock>| block.and_then(|block| block.model).filter(|_| recipe.slices.is_empty());
    // Not the first slice's base: a search over slerp changes that with every candidate, and the shape would change with it.
    let template = recipe.base_model.or(end(path.first())).unwrap_or(0);
    let last = end(path.last()).unwrap_or(template);
    let arch = parents[template].architecture();
    let compiler = Compiler { recipe, parents, statistics, made: made.as_ref(), layout: &layout, template, last, arch };

    let warnings = recipe.unmatched_filters(compiler.names());
    let mut merge = compiler.merge()?;
    let mut pool_bytes = 0;
    let tensors = if recipe.path.is_empty() && !merge.repeats() {
        merge.in_place()
    } else {
        let aligned = |tensor: &PlannedTensor| {
            let fits = |bytes: &[u8]| (bytes.as_ptr() as u64).is_multiple_of(ALIGNMENT);
            tensor.source_data(parents).iter().all(|source| source.bytes().is_some_and(fits))
        };
        let adapted;
        (adapted, pool_bytes) = compiler.adapted(merge.share(aligned))?;
        let block_of = |parent, layer| compiler.own_block(parent, layer, &adapted, aligned);
        merge.along(&path, arch, block_of)?
    };

    let origin = |block: &PathBlock| match block.model {
        Some(parent) => (parent, block.layer),
        None => compiler.block_template(block.layer as usize),
    };
    let layers: Vec<(&Parent, u32)> =
        path.iter().map(origin).map(|(parent, layer)| (&parents[parent], layer)).collect();
    let metadata = schedule::metadata(&parents[template], &layers)?;
    let infos: Vec<TensorInfo> = tensors.iter().map(|t| t.info.clone()).collect();
    let vocabulary = recipe.tokenizer.as_ref().map_or(template, |tokenizer| followed(tokenizer, recipe.base_model));
    let tokens = match &made {
        Some(made) => Some(made.len),
        None => parents[vocabulary].metadata().strings(TOKENS).map(Strings::len),
    };
    let header = bare(&metadata, &infos, tokens.map(|count| count as u32))?;
    let tensors = tensors.into_iter().zip(header.tensors).map(|(t, info)| PlannedTensor { info, ..t }).collect();
    Ok(Plan {
        name: recipe.file.display().to_string(),
        tensors,
        bare_header: header.bytes,
        data_bytes: header.data_len,
        pool_bytes,
        vocabulary,
        made,
        chat_template: chat_template(recipe)?,
        metadata,
        warnings,
    })
}

struct Compiler<'a> {
    recipe: &'a Recipe,
    parents: &'a [Parent],
    statistics: &'a Statistics,
    /// The vocabulary, if not all parents have it.
    made: Option<&'a Arc<Vocabulary>>,
    layout: &'a [BlockSite],
    template: usize,
    /// The parent of the path's last block, which gives what follows the blocks where nothing is merged.
    last: usize,
    arch: &'a str,
}

impl Compiler<'_> {
    /// The tensors of all parents and of the merge. An output matrix is among them whether or not it is the embedding, as in mergekit.
    fn names(&self) -> impl Iterator<Item = TensorName> + Clone {
        let of_parents = self.parents.iter().flat_map(Parent::tensors).map(|info| info.name.clone());
        let of_merge = (0..self.layout.len()).flat_map(|number| {
            let (parent, layer) = self.block_template(number);
            self.block_tensors(parent, layer).map(move |(_, rest)| format!("blk.{number}.{rest}"))
        });
        of_parents.chain(of_merge).chain([OUTPUT.to_owned()]).map(|name| TensorName::new(&name, self.arch))
    }

    /// Compiles the merge: all its blocks where the template has its first.
    fn merge(&self) -> Result<Merge, PlanError> {
        let mut merge = Merge { before: Vec::new(), blocks: Vec::new(), after: Vec::new() };
        let mut ordinal = 0;
        let mut blocks_done = false;
        for info in self.parents[self.template].tensors() {
            if block_of(&info.name).is_none() {
                let outer = if blocks_done { &mut merge.after } else { &mut merge.before };
                outer.push(self.tensor(&info.name, ordinal)?);
                ordinal += 1;
            } else if !std::mem::replace(&mut blocks_done, true) {
                for number in 0..self.layout.len() {
                    let block = self.block(number, ordinal)?;
                    ordinal += block.len();
                    merge.blocks.push(block);
                }
            }
        }
        if self.parents[self.template].position(OUTPUT).is_none() && self.has_output() {
            merge.after.push(self.tensor(OUTPUT, ordinal)?);
        }
        Ok(merge)
    }

    /// Whether any model that the tensors behind the blocks come from has an output matrix of its own. Then the merged model has one,
    /// to which tied models give their embeddings.
    fn has_output(&self) -> bool {
        let own = |model: usize| self.parents[model].position(OUTPUT).is_some();
        match self.recipe.slices.last() {
            Some(slice) => slice.sources.iter().any(|source| own(source.model)),
            None => own(self.last),
        }
    }

    /// Compiles all tensors of the merge's block `number`: those that its template source has. `ordinal` is that of the first.
    fn block(&self, number: usize, ordinal: usize) -> Result<Vec<PlannedTensor>, PlanError> {
        let (parent, layer) = self.block_template(number);
        let rests = self.block_tensors(parent, layer).map(|(_, rest)| rest);
        rests.zip(ordinal..).map(|(rest, ordinal)| self.tensor(&format!("blk.{number}.{rest}"), ordinal)).collect()
    }

    /// A parent's block as it is; what its adapters have changed is in the pool, where `adapted` says.
    fn own_block(
        &self,
        parent: usize,
        layer: u32,
        adapted: &HashMap<SourceRef, u64>,
        aligned: impl Fn(&PlannedTensor) -> bool,
    ) -> Result<Vec<PlannedTensor>, PlanError> {
        let whole = |(tensor, _): (usize, &str)| {
            let source = SourceRef { parent, tensor, rows: 0 };
            let whole = self.whole(&self.info(source).name, source)?;
            let home = match adapted.get(&source) {
                Some(place) => Home::Pool(*place),
                None if aligned(&whole) => Home::Parent,
                None => Home::Own,
            };
            Ok(PlannedTensor { home, ..whole })
        };
        self.block_tensors(parent, layer).map(whole).collect()
    }

    /// Places behind the first `size` bytes of the pool for all blocks' tensors that adapters have changed, and the pool's size then. They
    /// do not depend on the path, and a place that no path asks for takes no memory.
    fn adapted(&self, mut size: u64) -> Result<(HashMap<SourceRef, u64>, u64), PlanError> {
        let mut places = HashMap::new();
        for (parent, opened) in self.parents.iter().enumerate().filter(|(_, opened)| opened.is_adapted()) {
            for (tensor, info) in opened.tensors().iter().enumerate() {
                if block_of(&info.name).is_some() && !opened.view(tensor).low_rank.is_empty() {
                    let source = SourceRef { parent, tensor, rows: 0 };
                    places.insert(source, size);
                    let bytes = self.whole(&info.name, source)?.info.bytes;
                    size = size.saturating_add(bytes.next_multiple_of(ALIGNMENT));
                }
            }
        }
        Ok((places, size))
    }

    /// Positions of the tensors of a parent's block, and their names within it.
    fn block_tensors(&self, parent: usize, layer: u32) -> impl Iterator<Item = (usize, &str)> + Clone {
        let prefix = format!("blk.{layer}.");
        let tensors = self.parents[parent].tensors().iter().enumerate();
        tensors.filter_map(move |(i, info)| Some((i, info.name.strip_prefix(&prefix)?)))
    }

    /// The parent and layer that an output block takes its list of tensors from: the base's, or the first source's.
    fn block_template(&self, block: usize) -> (usize, u32) {
        let BlockSite { slice, layers, .. } = &self.layout[block];
        let slice = &self.recipe.slices[*slice];
        let base = self.recipe.base_of(slice);
        let chosen = slice.sources.iter().position(|s| Some(s.model) == base).unwrap_or(0);
        (slice.sources[chosen].model, layers[chosen])
    }

    /// Compiles the output tensor `name`, the `ordinal`-th of the model.
    fn tensor(&self, name: &str, ordinal: usize) -> Result<PlannedTensor, PlanError> {
        if TABLES.iter().any(|table| name.starts_with(table)) {
            return self.whole(name, self.find(self.template, name)?);
        }
        if self.layout.is_empty() {
            let behind = self.recipe.base_model.is_none() && Site::of(name) == Site::After;
            return self.whole(name, self.find(if behind { self.last } else { self.template }, name)?);
        }
        let Resolved { sources, base, shared } = self.recipe.resolve(self.layout, name, self.arch)?;
        let lookup = self.lookup(name)?;
        let lookup = lookup.as_ref();
        let mut inputs = Vec::new();
        for s in sources {
            let own_name = match s.layer {
                Some(layer) => TensorName::at_layer(name, layer, self.arch).gguf,
                None => name.to_owned(),
            };
            let source_ref = self.looked_up(self.find(s.model, &own_name)?, lookup);
            let data = source(source_ref, lookup.map(|lookup| &**lookup), self.parents);
            inputs.push(Input { source: source_ref, data, parameters: s.parameters });
        }
        let refs: Vec<SourceRef> = inputs.iter().map(|i| i.source).collect();
        let first = self.same_shape(name, &refs, lookup)?;
        let shape = self.shape(refs[0], lookup);
        let dimensions = shape.len();
        let case = Case {
            tensor: name,
            elements: elements(&shape).ok_or_else(|| overflow(name, &shape))?,
            row: usize::try_from(shape[0]).map_err(|_| overflow(name, &shape))?,
            slices: experts(name, &shape),
            slice: 0,
            base,
            shared: &shared,
            inputs,
            offset: schedule::stored_offset(self.arch, name, dimensions),
            mask: (MASK_SEED, ordinal as u32),
            statistics: self.statistics,
        };
        // A single source may be of any type as long as it is copied: what it would be computed to decides, and that looks at no weights.
        let program = match refs[..] {
            [only] if first.ty.is_integer() => return self.whole(name, only),
            [only] => {
                let program = self.compile_method(&case)?;
                if is_whole(&program) {
                    return self.whole(name, only);
                }
                self.refuse_undecodable(name, &refs, lookup)?;
                program
            }
            _ => {
                self.refuse_undecodable(name, &refs, lookup)?;
                self.compile_method(&case)?
            }
        };
        let model = self.info(refs[base.unwrap_or(0)]);
        let ty = types::destination(model, self.recipe.out_type)?;
        let info = TensorInfo::new(name, shape, ty)?;
        Ok(PlannedTensor { info, program, sources: refs, home: Home::Own, lookup: lookup.cloned() })
    }

    fn refuse_undecodable(
        &self,
        name: &str,
        refs: &[SourceRef],
        lookup: Option<&Arc<Lookup>>,
    ) -> Result<(), PlanError> {
        let tables = lookup.into_iter().flat_map(|lookup| &lookup.tables);
        match refs.iter().chain(tables).map(|r| self.info(*r).ty).find(|ty| !CODECS.decodes(*ty)) {
            None => Ok(()),
            Some(ty) => Err(PlanError::SourceType { tensor: name.to_owned(), ty: ty.name() }),
        }
    }

    fn compile_method(&self, case: &Case) -> Result<Program, PlanError> {
        let name = self.recipe.method.name;
        let program = methods::compile(name, case)?;
        // A factor that is not finite would make NaNs of whole tensors.
        match program.factors().into_iter().find(|factor| !factor.is_finite()) {
            None => Ok(program),
            Some(number) => Err(PlanError::Undefined {
                tensor: case.tensor.to_owned(),
                problem: format!("`{name}` comes to a factor of {number} with these parameters; use smaller weights"),
            }),
        }
    }

    /// A tensor as the parent has it: byte for byte, or computed where adapters or rows of other parents make it another one.
    fn whole(&self, name: &str, from: SourceRef) -> Result<PlannedTensor, PlanError> {
        let lookup = self.lookup(name)?;
        let from = self.looked_up(from, lookup.as_ref());
        let model = self.info(from);
        let copy = self.parents[from.parent].view(from.tensor).low_rank.is_empty()
            && lookup.as_ref().is_none_or(|lookup| {
                from.rows == 0 || lookup.vocabulary.map(from.parent).only_takes_from(from.parent as u32)
            });
        let (program, ty) = if copy {
            (Program::Copy { source: 0 }, model.ty)
        } else {
            self.refuse_undecodable(name, &[from], lookup.as_ref())?;
            let terms = vec![Term { source: 0, coefficient: 1.0 }];
            (Program::Sum { terms, constant: 0.0 }, types::destination(model, self.recipe.out_type)?)
        };
        let info = TensorInfo::new(name, self.shape(from, lookup.as_ref()), ty)?;
        Ok(PlannedTensor { info, program, sources: vec![from], home: Home::Own, lookup })
    }

    /// Where the rows of tensor `name` are looked up, if it is a table of tokens that some parent does not have as they are.
    fn lookup(&self, name: &str) -> Result<Option<Arc<Lookup>>, PlanError> {
        let place = TOKEN_TABLES.iter().position(|table| *table == name);
        let Some((vocabulary, place)) = self.made.zip(place) else { return Ok(None) };
        let tables = (0..self.parents.len()).map(|parent| self.find(parent, name)).collect::<Result<Vec<_>, _>>()?;
        for table in &tables {
            let (info, count) =
                (self.info(*table), self.parents[table.parent].metadata().strings(TOKENS).map_or(0, Strings::len));
            if info.shape.len() > 2 || info.shape.last() != Some(&(count as u64)) {
                let path = self.parents[table.parent].path().display();
                let problem =
                    format!("`{path}` has `{name}` of {:?}, not one row for each of its {count} tokens", info.shape);
                return Err(PlanError::Tokens(problem));
            }
            if info.shape[..info.shape.len() - 1] != self.info(tables[0]).shape[..info.shape.len() - 1] {
                return Err(self.other_shape(name, tables[0], *table));
            }
        }
        let width = match self.info(tables[0]).shape[..] {
            [width, _] => usize::try_from(width).expect("a mapped row"),
            _ => 1,
        };
        // Embeddings that stand in for an output matrix have their rows filled from the others' output matrices.
        let number = vocabulary.id * TOKEN_TABLES.len() + place;
        Ok(Some(Arc::new(Lookup { number, vocabulary: Arc::clone(vocabulary), tables, width })))
    }

    /// The source with the rows of the merged model's tokens, if it has others.
    fn looked_up(&self, source: SourceRef, lookup: Option<&Arc<Lookup>>) -> SourceRef {
        match lookup {
            Some(lookup) if !lookup.vocabulary.keeps(source.parent) => SourceRef { rows: lookup.number, ..source },
            _ => source,
        }
    }

    /// The shape of a source.
    fn shape(&self, source: SourceRef, lookup: Option<&Arc<Lookup>>) -> Vec<u64> {
        let mut shape = self.info(source).shape.clone();
        if let (Some(lookup), Some(rows)) = (lookup, shape.last_mut()) {
            *rows = lookup.rows();
        }
        shape
    }

    fn info(&self, r: SourceRef) -> &TensorInfo {
        &self.parents[r.parent].tensors()[r.tensor]
    }

    fn find(&self, parent: usize, name: &str) -> Result<SourceRef, PlanError> {
        let tied = || self.parents[parent].position(EMBEDDING).filter(|_| name == OUTPUT);
        match self.parents[parent].position(name).or_else(tied) {
            Some(tensor) => Ok(SourceRef { parent, tensor, rows: 0 }),
            None => Err(PlanError::MissingTensor {
                tensor: name.to_owned(),
                parent: self.parents[parent].path().display().to_string(),
                hint: format!("{} blocks", self.parents[parent].block_count()),
            }),
        }
    }

    /// The first source's description, if all have its shape.
    fn same_shape(
        &self,
        name: &str,
        refs: &[SourceRef],
        lookup: Option<&Arc<Lookup>>,
    ) -> Result<&TensorInfo, PlanError> {
        let shape = |r: SourceRef| self.shape(r, lookup);
        match refs.iter().find(|r| shape(**r) != shape(refs[0])) {
            None => Ok(self.info(refs[0])),
            Some(other) => Err(self.other_shape(name, refs[0], *other)),
        }
    }

    fn other_shape(&self, name: &str, first: SourceRef, second: SourceRef) -> PlanError {
        PlanError::Shape {
            tensor: name.to_owned(),
            first: self.info(first).shape.clone(),
            second: self.info(second).shape.clone(),
            parent: self.parents[second.parent].path().display().to_string(),
        }
    }
}

/// Number of elements, if memory can hold so many.
fn elements(shape: &[u64]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, ne| product.checked_mul(usize::try_from(*ne).ok()?))
}

fn overflow(name: &str, shape: &[u64]) -> PlanError {
    PlanError::Header(Fault::ShapeOverflow { name: name.to_owned(), shape: shape.to_vec() })
}

/// The recipe's chat template, if it has one of its own.
fn chat_template(recipe: &Recipe) -> Result<Option<String>, PlanError> {
    match recipe.chat_template.as_deref() {
        None | Some("auto") => Ok(None),
        Some(jinja) if jinja.contains("{{") || jinja.contains("{%") => Ok(Some(jinja.to_owned())),
        Some(name) => Err(PlanError::ChatTemplate { name: name.to_owned() }),
    }
}

/// Whether the program of a single source leaves it as it is.
fn is_whole(program: &Program) -> bool {
    match program {
        Program::Sum { terms, constant } => *constant == 0.0 && terms.iter().all(|t| t.coefficient == 1.0),
        Program::TaskVectors { vectors, .. } => vectors.is_empty(),
        Program::Elected { vectors, .. } | Program::Overlap { vectors, .. } => vectors.is_empty(),
        Program::Slices { programs, .. } => programs.iter().all(is_whole),
        Program::LineSum { .. } | Program::Near { .. } | Program::Important { .. } => false,
        Program::Copy { .. } => true,
        Program::Scaled { program, factor } => *factor == 1.0 && is_whole(program),
    }
}

/// How many experts a tensor stacks on each other. GGUF has all of a layer's in one tensor; to be merged, each is a matrix of its own.
fn experts(name: &str, shape: &[u64]) -> usize {
    let stacked = name.contains("_exps.") && shape.len() > 2;
    usize::try_from(if stacked { shape[2..].iter().product() } else { 1 }).expect("a mapped tensor")
}
