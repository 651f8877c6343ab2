//! How the next token is chosen: llama.cpp's samplers in llama.cpp's order, over one row of logits.

use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token::data::LlamaTokenData;
use llama_cpp_2::token::data_array::LlamaTokenDataArray;
use llama_cpp_2::token::logit_bias::LlamaLogitBias;

use super::grammar::{Follower, Grammar};
use super::{ModelError, Vocabulary};

/// Settings of the samplers, named and meant as llama.cpp's.
#[derive(Clone, Debug)]
pub struct Sampling {
    /// 0 takes the most likely token.
    pub temperature: f32,
    /// Only the k most likely tokens; 0 for all.
    pub top_k: i32,
    /// Only the most likely tokens that have this probability together; 1 for all.
    pub top_p: f32,
    /// Only tokens at least this likely compared to the most likely one; 0 for all.
    pub min_p: f32,
    /// Divides the logits of recent tokens; 1 for none.
    pub repeat_penalty: f32,
    /// How many tokens are recent.
    pub repeat_last_n: i32,
    /// Taken off for each time that a token is among the recent ones.
    pub frequency_penalty: f32,
    /// Taken off once for a token that is among the recent ones.
    pub presence_penalty: f32,
    /// Added to the logits of these tokens.
    pub logit_bias: Vec<(LlamaToken, f32)>,
    /// What the answer must follow from its first token on.
    pub grammar: Option<Grammar>,
    /// For what is drawn.
    pub seed: u32,
}

impl Sampling {
    /// The highest temperature; the lowest is 0.
    pub const MAX_TEMPERATURE: f32 = 100.0;

    /// The most likely token, always.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::plain() }
    }

    /// Draws from the model's own distribution.
    pub fn plain() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            grammar: None,
            seed: 0,
        }
    }

    /// What llama.cpp's programs do unless told otherwise (`common_params_sampling`).
    pub fn llama_cpp() -> Self {
        Self { temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.05, ..Self::plain() }
    }

    fn penalizes(&self) -> bool {
        self.repeat_last_n > 0
            && (self.repeat_penalty != 1.0 || self.frequency_penalty != 0.0 || self.presence_penalty != 0.0)
    }
}

/// The samplers of one sequence, with what they remember of it.
pub struct Sampler {
    /// `None` where the most likely token is all that is asked for.
    chain: Option<Chain>,
}

struct Chain {
    samplers: LlamaSampler,
    grammar: Option<Follower>,
}

impl Sampler {
    /// Samplers for what follows `prompt`, whose last tokens count as recent.
    pub fn new(sampling: &Sampling, vocabulary: &Vocabulary, prompt: &[LlamaToken]) -> Self {
        let plain = !sampling.penalizes() && sampling.logit_bias.is_empty() && sampling.grammar.is_none();
        if sampling.temperature <= 0.0 && plain {
            return Self { chain: None };
        }
        let grammar = sampling.grammar.as_ref().map(Follower::new);
        let tokens = i32::try_from(vocabulary.len()).unwrap_or(i32::MAX);
        let mut samplers = Vec::new();
        if !sampling.logit_bias.is_empty() {
            let biases: Vec<_> = sampling.logit_bias.iter().map(|(t, bias)| LlamaLogitBias::new(*t, *bias)).collect();
            samplers.push(LlamaSampler::logit_bias(tokens, &biases));
        }
        if sampling.penalizes() {
            let Sampling { repeat_last_n, repeat_penalty, frequency_penalty, presence_penalty, .. } = *sampling;
            samplers.push(LlamaSampler::penalties(
                tokens,
                repeat_last_n,
                repeat_penalty,
                frequency_penalty,
                presence_penalty,
            ));
        }
        if sampling.temperature <= 0.0 {
            samplers.push(LlamaSampler::greedy());
        } else {
            // Each of these changes nothing at its neutral value, but costs a pass over the vocabulary.
            if sampling.top_k > 0 {
                samplers.push(LlamaSampler::top_k(sampling.top_k));
            }
            if sampling.top_p < 1.0 {
                samplers.push(LlamaSampler::top_p(sampling.top_p, 1));
            }
            if sampling.min_p > 0.0 {
                samplers.push(LlamaSampler::min_p(sampling.min_p, 1));
            }
            samplers.push(LlamaSampler::temp(sampling.temperature));
            samplers.push(LlamaSampler::dist(sampling.seed));
        }
        let mut samplers = LlamaSampler::chain(samplers, true);
        let recent = prompt.len().saturating_sub(usize::try_from(sampling.repeat_last_n).unwrap_or(0));
        samplers.accept_many(&prompt[recent..]);
        Self { chain: Some(Chain { samplers, grammar }) }
    }

    /// Chooses the token after the position that `logits` belong to.
    ///
    /// # Errors
    /// [`ModelError::NotANumber`] if no logit is a number; [`ModelError::Grammar`] if no token can follow.
    pub fn sample(&mut self, logits: &[f32]) -> Result<LlamaToken, ModelError> {
        let best = most_likely(logits);
        if !logits.get(usize::try_from(best.0).unwrap_or(usize::MAX)).is_some_and(|logit| logit.is_finite()) {
            return Err(ModelError::NotANumber);
        }
        match &mut self.chain {
            None => Ok(best),
            Some(chain) => chain.sample(logits),
        }
    }
}

impl Chain {
    /// As llama.cpp's `common_sampler_sample`: the grammar is asked about the one token chosen, and about all only if it refuses that.
    fn sample(&mut self, logits: &[f32]) -> Result<LlamaToken, ModelError> {
        let mut all = candidates(logits);
        all.apply_sampler(&mut self.samplers);
        let mut token = all.selected_token().ok_or(ModelError::NotANumber)?;
        if let Some(grammar) = &mut self.grammar {
            if !grammar.allows(token)? {
                let allowed = grammar.allowed()?;
                let mut all = candidates(logits);
                all.data.retain(|candidate| allowed.is_allowed(candidate.id().0.cast_unsigned()));
                if all.data.is_empty() {
                    let reason = "no token can follow what was generated so far".to_owned();
                    return Err(ModelError::Grammar { reason });
                }
                all.apply_sampler(&mut self.samplers);
                token = all.selected_token().ok_or(ModelError::NotANumber)?;
            }
            grammar.accept(token)?;
        }
        self.samplers.accept(token);
        Ok(token)
    }
}

/// Every token with its logit; those that are no numbers cannot be drawn.
fn candidates(logits: &[f32]) -> LlamaTokenDataArray {
    let logit = |l: &f32| if l.is_nan() { f32::NEG_INFINITY } else { *l };
    let tokens = (0..).map(LlamaToken).zip(logits).map(|(token, l)| LlamaTokenData::new(token, logit(l), 0.0));
    LlamaTokenDataArray::from_iter(tokens, false)
}

/// Index of the largest logit, the first of equals; NaNs never win.
pub fn most_likely(logits: &[f32]) -> LlamaToken {
    let best =
        logits.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (i, l)| if *l > best.1 { (i, *l) } else { best });
    LlamaToken(i32::try_from(best.0).expect("vocabularies have fewer than 2^31 tokens"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_likely_takes_the_first_of_equals_and_no_nan() {
        let nan = f32::NAN;
        for (logits, want) in [
            (&[0.0, 3.0, 3.0, 1.0][..], 1),
            (&[-5.0, -1.0], 1),
            (&[nan, 1.0, nan, 2.0], 3),
            (&[2.0, nan], 0),
            (&[nan, nan], 0),
            (&[f32::NEG_INFINITY, -1e30], 1),
            (&[0.0, f32::INFINITY], 1),
        ] {
            assert_eq!(most_likely(logits), LlamaToken(want), "{logits:?}");
        }
    }
}
