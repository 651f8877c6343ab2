//! The slots of one context and how they share its batches.

use std::time::Instant;

use rayon::prelude::*;

use super::slot::{Job, Slot};
use super::{Likelihood, Output, Reason, Request, Work};
use crate::model::{Live, LlamaBatch, LlamaToken, ModelError};

/// Continues many requests side by side in one live model. `T` is what its owner knows a request by.
pub struct Generator<T> {
    slots: Vec<Slot<T>>,
    batch: LlamaBatch<'static>,
    steps: u64,
    rows: Vec<Row>,
    work: Work,
    /// Whether a model has computed something that is no number: it must not stay, not even behind a mask.
    poisoned: bool,
}

/// A position of the batch whose logits were asked for.
#[derive(Clone, Copy)]
struct Row {
    slot: usize,
    /// Where in the batch.
    index: i32,
    /// The token that follows in the prompt and how many of the most likely ones to tell beside it, if that is asked for.
    target: Option<(LlamaToken, usize)>,
    /// Whether it is the last one of what had to be computed, so that the request goes on from there.
    last: bool,
}

impl<T> Generator<T> {
    /// A generator for `live`, which nobody else may give tokens to while it runs requests.
    pub fn new(live: &Live) -> Self {
        let slots = (0..live.size().sequences).map(|_| Slot::new()).collect();
        let batch = LlamaBatch::new(live.batch_size(), 1);
        Self { slots, batch, steps: 0, rows: Vec::new(), work: Work::default(), poisoned: false }
    }

    /// What all steps together have computed.
    pub fn work(&self) -> Work {
        self.work
    }

    /// Slots that run no request.
    pub fn free(&self) -> usize {
        self.slots.iter().filter(|slot| slot.job.is_none()).count()
    }

    /// Requests that run.
    pub fn running(&self) -> usize {
        self.slots.len() - self.free()
    }

    /// What the running requests are known by.
    pub fn tags(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.job.as_ref()).map(|job| &job.tag)
    }

    /// Puts a request into the free slot whose last tokens it has most in common with.
    ///
    /// # Errors
    /// [`ModelError::EmptyPrompt`], [`ModelError::TooLong`], with the tag; nothing runs then.
    ///
    /// # Panics
    /// If no slot is free; ask [`Generator::free`] first.
    pub fn start(&mut self, live: &mut Live, tag: T, request: Request) -> Result<(), (T, ModelError)> {
        let (prompt, wanted, limit) = (request.prompt.len(), request.max_tokens, live.size().tokens);
        if prompt == 0 {
            return Err((tag, ModelError::EmptyPrompt));
        }
        if prompt.saturating_add(wanted) > limit as usize {
            return Err((tag, ModelError::TooLong { prompt, wanted, limit }));
        }
        let free = self.slots.iter().enumerate().filter(|(_, slot)| slot.job.is_none());
        // Of equals, the one that has been idle longest.
        let best =
            free.max_by_key(|(index, slot)| (slot.common_prefix(&request), std::cmp::Reverse((slot.used, *index))));
        let (index, slot) = best.expect("the caller has asked whether a slot is free");
        let common = slot.common_prefix(&request);
        let job = Job::new(tag, request, common, live.vocabulary());
        let sequence = u32::try_from(index).expect("a slot of the context");
        let kept = live.truncate(sequence, common);
        let slot = &mut self.slots[index];
        slot.computed.truncate(kept);
        slot.used = self.steps;
        slot.job = Some(job);
        Ok(())
    }

    /// Computes `prefix`, with which prompts to come begin, once, in a context that holds nothing, and gives it to as many of the slots as
    /// `requests` will take.
    ///
    /// # Errors
    /// [`ModelError::Decode`] if llama.cpp fails.
    ///
    /// # Panics
    /// If a request runs, or `prefix` is longer than a sequence.
    pub fn share(&mut self, live: &mut Live, prefix: &[LlamaToken], requests: usize) -> Result<(), ModelError> {
        assert_eq!(self.running(), 0, "requests run in the slots");
        assert!(prefix.len() <= live.size().tokens as usize, "a prefix longer than a sequence");
        for (chunk, first) in prefix.chunks(live.batch_size()).zip((0..).step_by(live.batch_size())) {
            let start = Instant::now();
            self.batch.clear();
            for (token, position) in chunk.iter().zip(first..) {
                self.batch.add(*token, position, &[0], false).expect("batches are sized for this");
            }
            live.decode(&mut self.batch)?;
            self.work.add(chunk.len(), 0, start.elapsed());
        }
        for (slot, sequence) in self.slots.iter_mut().take(requests).zip(0..) {
            if sequence > 0 {
                live.copy(0, sequence);
            }
            slot.computed = prefix.to_vec();
        }
        Ok(())
    }

    /// Ends the requests that `unwanted` says so of.
    pub fn cancel(&mut self, unwanted: impl Fn(&T) -> bool, on: &mut dyn FnMut(&mut T, Output)) {
        for slot in &mut self.slots {
            if slot.job.as_ref().is_some_and(|job| unwanted(&job.tag))
                && let Some(mut job) = slot.job.take()
            {
                let end = job.end(Reason::Cancelled);
                on(&mut job.tag, Output::End(end));
            }
        }
    }

    /// Forgets what slots have computed: their model is about to change, which forgets it too.
    ///
    /// # Panics
    /// If a request runs.
    pub fn forget(&mut self, live: &mut Live) {
        assert_eq!(self.running(), 0, "requests run on the weights they started on");
        if std::mem::take(&mut self.poisoned) {
            live.forget_all();
        }
        self.slots.iter_mut().for_each(|slot| slot.computed.clear());
    }

    /// Computes one batch: the next token of every running answer and a piece of the prompts that wait. `on` takes what comes of it and says
    /// whether that request should go on.
    ///
    /// # Errors
    /// [`ModelError::Decode`] if llama.cpp fails; every request in the batch has then been told so and is gone.
    pub fn step(&mut self, live: &mut Live, on: &mut dyn FnMut(&mut T, Output) -> bool) -> Result<(), ModelError> {
        self.steps += 1;
        let start = Instant::now();
        let pieces = self.choose(live);
        if pieces.is_empty() {
            return Ok(());
        }
        let generated = pieces.iter().filter(|(slot, _)| !self.slots[*slot].reads_prompt()).count();
        self.fill(&pieces, live.logit_rows());
        let prompt = usize::try_from(self.batch.n_tokens()).unwrap_or(0).saturating_sub(generated);
        if let Err(error) = live.decode(&mut self.batch) {
            let reason = error.to_string();
            for (index, _) in pieces {
                let failed = ModelError::Decode {
                    tokens: self.batch.n_tokens().try_into().unwrap_or(0),
                    reason: reason.clone(),
                };
                self.end(index, Reason::Failed(failed), on);
                live.truncate(u32::try_from(index).expect("a slot of the context"), 0);
                self.slots[index].computed.clear();
            }
            return Err(error);
        }
        self.read_prompts(live);
        for row in std::mem::take(&mut self.rows).into_iter().filter(|row| row.last) {
            let Some(job) = &mut self.slots[row.slot].job else { continue };
            if let Some(reason) = job.advance(live.logits(row.index), live.vocabulary(), on) {
                self.end(row.slot, reason, on);
            }
        }
        self.work.add(prompt, generated, start.elapsed());
        Ok(())
    }

    /// Which slots take part in the next batch, with how many tokens.
    ///
    /// llama.cpp computes sequences side by side only as far as all have tokens, so that prompts go together where they end together.
    fn choose(&self, live: &Live) -> Vec<(usize, usize)> {
        let mut reading: Vec<usize> = (0..self.slots.len()).filter(|s| self.slots[*s].reads_prompt()).collect();
        reading.sort_by_key(|s| self.slots[*s].used);
        let running: Vec<usize> =
            (0..self.slots.len()).filter(|s| self.slots[*s].job.is_some() && !reading.contains(s)).collect();
        let mut pieces = Vec::new();
        // A batch costs about the same for few answers as for many: while most slots still read, the few others wait.
        let answering = running.len() >= reading.len();
        if answering {
            pieces.extend(running.iter().map(|slot| (*slot, 1)));
        }
        let whole = live.batch_size();
        // So that running answers do not stand still for long.
        let most = if running.is_empty() { whole } else { live.ubatch_size().min(whole) };
        let mut room = most.min(whole - pieces.len());
        let Some(first) = reading.first() else { return pieces };
        let length = |slot: &usize| self.slots[*slot].pending().len();
        let together = length(first);
        for slot in reading.iter().filter(|slot| length(slot) == together) {
            let piece = together.min(room);
            if piece == 0 || (piece < together && slot != first) {
                break;
            }
            pieces.push((*slot, piece));
            room -= piece;
        }
        // llama.cpp computes neighbours together and what stands apart by itself.
        pieces.sort_unstable();
        pieces
    }

    /// Fills the batch with `pieces`, each as far as `most_rows` positions with logits allow, and counts them as computed.
    fn fill(&mut self, pieces: &[(usize, usize)], most_rows: usize) {
        self.batch.clear();
        self.rows.clear();
        // One for each slot comes on top: it has to be there whatever the vocabulary's size.
        let mut rows_left = most_rows;
        for &(index, piece) in pieces {
            let slot = &mut self.slots[index];
            let Some(job) = &slot.job else { continue };
            let asked = job.prompt_likelihoods();
            let mut tokens = slot.pending()[..piece].to_vec();
            let remaining = slot.pending().len();
            let start = slot.computed.len();
            if let Some(asked) = asked {
                let before = asked.first_position().saturating_sub(start);
                tokens.truncate(before.saturating_add(rows_left.max(1)));
                rows_left = rows_left.saturating_sub(tokens.len().saturating_sub(before));
            }
            for (token, position) in tokens.iter().zip(start..) {
                let next = job.request.prompt.get(position + 1);
                let asked = asked.filter(|asked| position >= asked.first_position());
                let target = asked.and_then(|asked| Some((*next?, asked.top)));
                let last = position + 1 == start + remaining;
                let logits = last || target.is_some();
                if logits {
                    self.rows.push(Row { slot: index, index: self.batch.n_tokens(), target, last });
                }
                // Contexts hold far fewer than 2^31 tokens and slots, and batches are filled up to their own size only.
                let position = i32::try_from(position).expect("a position inside the context");
                let sequence = i32::try_from(index).expect("a slot of the context");
                self.batch.add(*token, position, &[sequence], logits).expect("batches are sized for this");
            }
            slot.computed.extend(tokens);
        }
    }

    /// Gives prompts the likelihoods of their tokens: the costly part, so all cores take part.
    fn read_prompts(&mut self, live: &Live) {
        let wanted = self.rows.iter().filter_map(|row| Some((row.slot, live.logits(row.index), row.target?)));
        let wanted: Vec<(usize, &[f32], (LlamaToken, usize))> = wanted.collect();
        let found: Vec<(usize, Likelihood)> = wanted
            .into_par_iter()
            .map(|(slot, logits, (token, top))| (slot, Likelihood::of(logits, token, top)))
            .collect();
        for (slot, likelihood) in found {
            self.poisoned |= likelihood.log.is_nan();
            if let Some(job) = &mut self.slots[slot].job {
                job.read(likelihood);
            }
        }
    }

    fn end(&mut self, index: usize, reason: Reason, on: &mut dyn FnMut(&mut T, Output) -> bool) {
        if let Some(mut job) = self.slots[index].job.take() {
            self.poisoned |= matches!(reason, Reason::Failed(ModelError::NotANumber));
            let end = job.end(reason);
            on(&mut job.tag, Output::End(end));
        }
    }
}
