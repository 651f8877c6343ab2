//! Prompts in, the summed negative log-likelihood of each prompt's tokens after its first out.

use std::time::Instant;

use rayon::prelude::*;

use super::{Progress, ScoreError};
use crate::generate::{Work, negative_log_likelihood};
use crate::model::{Live, LlamaBatch, LlamaToken, ModelError};

/// For each prompt, the sum of `-ln p(token | all before it)` over every token but the first, and how many these are; and what that took.
///
/// # Errors
/// [`ScoreError::Model`] if a prompt is too long or llama.cpp fails, [`ScoreError::Cancelled`] if `progress` says so.
pub fn negative_log_likelihoods(
    live: &mut Live,
    prompts: &[Vec<LlamaToken>],
    progress: &mut Progress,
) -> Result<(Vec<(f64, usize)>, Work), ScoreError> {
    let rows = live.logit_rows();
    let mut batch = LlamaBatch::new(rows, 1);
    let (mut sums, mut work) = (Vec::with_capacity(prompts.len()), Work::default());
    for (done, tokens) in prompts.iter().enumerate() {
        progress.report(done, prompts.len())?;
        let limit = live.size().tokens;
        if tokens.len() > limit as usize {
            return Err(ModelError::TooLong { prompt: tokens.len(), wanted: 0, limit }.into());
        }
        live.forget_all();
        let mut sum = 0.0;
        // Nothing follows the last token, so that it need not be computed.
        let predicting = &tokens[..tokens.len().saturating_sub(1)];
        for (chunk, position) in predicting.chunks(rows).zip((0..).step_by(rows)) {
            let begun = Instant::now();
            batch.clear();
            for (token, at) in chunk.iter().zip(position..) {
                batch.add(*token, at, &[0], true).expect("batches are sized for this");
            }
            live.decode(&mut batch)?;
            let start = usize::try_from(position).expect("positions count up from zero");
            let targets = tokens.iter().skip(start + 1).take(chunk.len());
            let logits: Vec<(&[f32], LlamaToken)> =
                (0..).zip(targets).map(|(row, target)| (live.logits(row), *target)).collect();
            let surprises: Vec<f64> =
                logits.par_iter().map(|(logits, target)| negative_log_likelihood(logits, *target)).collect();
            // In order, so that the sum does not depend on threads.
            sum += surprises.iter().sum::<f64>();
            work.add(chunk.len(), 0, begun.elapsed());
        }
        sums.push((sum, tokens.len().saturating_sub(1)));
    }
    live.forget_all();
    progress.report(prompts.len(), prompts.len())?;
    Ok((sums, work))
}
