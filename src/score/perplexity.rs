//! Prompts in, the summed negative log-likelihood of each prompt's tokens after its first out.

use rayon::prelude::*;

use super::{Progress, ScoreError};
use crate::model::{Live, LlamaBatch, LlamaToken, ModelError};

/// Most bytes of logits held at once.
const MAX_LOGITS_BYTES: usize = 64 << 20;

/// For each prompt, the sum of `-ln p(token | all before it)` over every token but the first, and how many these are.
///
/// # Errors
/// [`ScoreError::Model`] if a prompt is too long or llama.cpp fails, [`ScoreError::Cancelled`] if `progress` says so.
pub fn negative_log_likelihoods(
    live: &mut Live,
    prompts: &[Vec<LlamaToken>],
    progress: &mut Progress,
) -> Result<Vec<(f64, usize)>, ScoreError> {
    let rows = (MAX_LOGITS_BYTES / (4 * live.vocabulary().len().max(1))).clamp(1, live.batch_size());
    let mut batch = LlamaBatch::new(rows, 1);
    let mut sums = Vec::with_capacity(prompts.len());
    for (done, tokens) in prompts.iter().enumerate() {
        progress.report(done, prompts.len())?;
        let limit = live.size().tokens;
        if tokens.len() > limit as usize {
            return Err(ModelError::TooLong { prompt: tokens.len(), wanted: 0, limit }.into());
        }
        live.forget_all();
        let mut sum = 0.0;
        for (chunk, position) in tokens.chunks(rows).zip((0..).step_by(rows)) {
            batch.clear();
            for (token, at) in chunk.iter().zip(position..) {
                batch.add(*token, at, &[0], true).expect("batches are sized for this");
            }
            live.decode(&mut batch)?;
            let start = usize::try_from(position).expect("positions count up from zero");
            let targets = tokens.iter().skip(start + 1).take(chunk.len());
            let logits: Vec<(&[f32], usize)> = (0..)
                .zip(targets)
                .map(|(row, target)| (live.logits(row), usize::try_from(target.0).unwrap_or(usize::MAX)))
                .collect();
            let surprises: Vec<f64> = logits.par_iter().map(|(logits, target)| surprise(logits, *target)).collect();
            // In order, so that the sum does not depend on threads.
            sum += surprises.iter().sum::<f64>();
        }
        sums.push((sum, tokens.len().saturating_sub(1)));
    }
    live.forget_all();
    progress.report(prompts.len(), prompts.len())?;
    Ok(sums)
}

/// `-ln softmax(logits)[target]`, summed in f64.
fn surprise(logits: &[f32], target: usize) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|l| f64::from(l - largest).exp()).sum();
    let target = logits.get(target).copied().unwrap_or(f32::NEG_INFINITY);
    total.ln() - f64::from(target - largest)
}
