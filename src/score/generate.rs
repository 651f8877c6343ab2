//! Many prompts in, greedy answers out: sequences of one context side by side, a slot refilled as soon as its answer ends.

use std::collections::VecDeque;

use super::{Progress, ScoreError};
use crate::model::{Live, LlamaBatch, LlamaToken, ModelError};

/// A prompt to be continued.
pub struct Request {
    /// Tokens of the prompt, at least one.
    pub tokens: Vec<LlamaToken>,
    /// Most tokens to generate.
    pub max_tokens: usize,
}

/// The continuation of one prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Up to the first stop string, which is left out.
    pub text: String,
    /// Tokens generated, the last one included where it ended the answer.
    pub tokens: usize,
}

/// A sequence that is being continued.
struct Slot {
    request: usize,
    position: i32,
    next: LlamaToken,
    text: Vec<u8>,
    tokens: usize,
}

/// Answers every request, in the order given, with the most likely token at each step.
///
/// An answer ends at an end-of-generation token, when `stop` finds where to cut it, or at its limit. The result depends on the number of
/// slots only through rounding in llama.cpp's batched products.
///
/// # Errors
/// [`ScoreError::Model`] if a prompt is too long or llama.cpp fails, [`ScoreError::Cancelled`] if `progress` says so.
pub fn generate(
    live: &mut Live,
    requests: &[Request],
    stop: &dyn Fn(&str) -> Option<usize>,
    progress: &mut Progress,
) -> Result<Vec<Answer>, ScoreError> {
    let limit = live.size().tokens;
    if let Some(r) = requests.iter().find(|r| r.tokens.len() + r.max_tokens > limit as usize) {
        return Err(ModelError::TooLong { prompt: r.tokens.len(), wanted: r.max_tokens, limit }.into());
    }
    live.forget_all();
    let mut engine = Engine {
        answers: vec![Answer::default(); requests.len()],
        slots: (0..live.size().sequences).map(|_| None).collect(),
        batch: LlamaBatch::new(live.batch_size(), 1),
        live,
        requests,
        stop,
    };
    // Prompts of equal length are computed as one rectangle; sorting brings them together.
    let mut queue: Vec<usize> = (0..requests.len()).collect();
    queue.sort_by_key(|r| requests[*r].tokens.len());
    let mut queue = VecDeque::from(queue);
    let mut done = 0;
    loop {
        while !queue.is_empty() && engine.slots.iter().any(Option::is_none) {
            done += engine.admit(&mut queue)?;
        }
        progress.report(done, requests.len())?;
        if engine.slots.iter().all(Option::is_none) {
            engine.live.forget_all();
            return Ok(engine.answers);
        }
        done += engine.step()?;
    }
}

struct Engine<'a, 'b> {
    live: &'a mut Live,
    requests: &'a [Request],
    stop: &'a dyn Fn(&str) -> Option<usize>,
    slots: Vec<Option<Slot>>,
    answers: Vec<Answer>,
    batch: LlamaBatch<'b>,
}

impl Engine<'_, '_> {
    /// Moves prompts of equal length from the queue into free slots and computes them; returns how many answers ended at once.
    fn admit(&mut self, queue: &mut VecDeque<usize>) -> Result<usize, ScoreError> {
        let free: Vec<usize> = (0..self.slots.len()).filter(|s| self.slots[*s].is_none()).collect();
        let length = self.requests[queue[0]].tokens.len();
        let room = (self.live.batch_size() / length.max(1)).clamp(1, free.len());
        let alike = queue.iter().take_while(|r| self.requests[**r].tokens.len() == length).count().min(room);
        let admitted: Vec<(usize, usize)> = free.into_iter().zip(queue.drain(..alike)).collect();
        for from in (0..length).step_by(self.live.batch_size()) {
            let to = (from + self.live.batch_size()).min(length);
            self.batch.clear();
            for (slot, request) in &admitted {
                for (position, token) in self.requests[*request].tokens[from..to].iter().enumerate() {
                    self.add(*token, from + position, *slot, from + position + 1 == length);
                }
            }
            self.live.decode(&mut self.batch)?;
        }
        for (slot, request) in &admitted {
            let position = i32::try_from(length).unwrap_or(i32::MAX);
            let next = LlamaToken(0);
            self.slots[*slot] = Some(Slot { request: *request, position, next, text: Vec::new(), tokens: 0 });
        }
        let per_prompt = length - (length - 1) / self.live.batch_size() * self.live.batch_size();
        let last: Vec<(usize, usize)> =
            admitted.iter().enumerate().map(|(i, (slot, _))| (*slot, (i + 1) * per_prompt - 1)).collect();
        Ok(self.accept(&last))
    }

    /// Adds one token to every running sequence; returns how many answers ended.
    fn step(&mut self) -> Result<usize, ScoreError> {
        self.batch.clear();
        let mut rows = Vec::new();
        for slot in 0..self.slots.len() {
            if let Some(Slot { next, position, .. }) = self.slots[slot] {
                rows.push((slot, rows.len()));
                self.add(next, usize::try_from(position).unwrap_or(0), slot, true);
            }
        }
        self.live.decode(&mut self.batch)?;
        for slot in self.slots.iter_mut().flatten() {
            slot.position += 1;
        }
        Ok(self.accept(&rows))
    }

    fn add(&mut self, token: LlamaToken, position: usize, slot: usize, logits: bool) {
        // Contexts hold far fewer than 2^31 tokens and slots, and batches are filled up to their own size only.
        let position = i32::try_from(position).expect("a position inside the context");
        let sequence = i32::try_from(slot).expect("a slot of the context");
        self.batch.add(token, position, &[sequence], logits).expect("batches are sized for this");
    }

    /// Takes the most likely token at each `(slot, row of the last batch)`; returns how many answers ended.
    fn accept(&mut self, rows: &[(usize, usize)]) -> usize {
        let mut ended = 0;
        for (slot_index, row) in rows {
            let token = most_likely(self.live.logits(i32::try_from(*row).expect("a row of the batch")));
            let Some(slot) = &mut self.slots[*slot_index] else { continue };
            slot.tokens += 1;
            slot.next = token;
            let end = self.live.vocabulary().is_end(token);
            if !end {
                self.live.vocabulary().append_piece(token, &mut slot.text);
            }
            let text = String::from_utf8_lossy(&slot.text);
            let cut = (self.stop)(&text);
            if end || cut.is_some() || slot.tokens >= self.requests[slot.request].max_tokens {
                let text = text[..cut.unwrap_or(text.len())].to_owned();
                self.answers[slot.request] = Answer { text, tokens: slot.tokens };
                self.slots[*slot_index] = None;
                self.live.forget(i32::try_from(*slot_index).expect("a slot of the context"));
                ended += 1;
            }
        }
        ended
    }
}

/// Index of the largest logit, the first of equals; NaNs never win.
pub(crate) fn most_likely(logits: &[f32]) -> LlamaToken {
    let best =
        logits.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (i, l)| if *l > best.1 { (i, *l) } else { best });
    LlamaToken(i32::try_from(best.0).expect("vocabularies have fewer than 2^31 tokens"))
}
