//! `karcher`: the models' Riemannian centre of mass on the sphere of their directions, at their mean length.

use ggraft_kernels::Program;

use super::Case;
use super::gram::Gram;
use crate::plan::PlanError;

/// Karcher's mean by fixed-point steps along the mean tangent.
pub(super) fn karcher(case: &Case) -> Result<Program, PlanError> {
    if case.inputs.len() == 1 {
        // The centre of one model is that model, to the last bit.
        return Ok(case.sum([1.0]));
    }
    let gram = Gram::of_sources(case);
    let (steps, tolerance) = (case.shared("max_iter"), case.shared("tol"));
    let n = gram.len();
    let norms: Vec<f64> = (0..n).map(|i| gram.norm_of(i)).collect();
    let scale = norms.iter().sum::<f64>() / n as f64;
    // Vectors of no length have no direction, but count in the mean length.
    let directed = norms.iter().filter(|norm| **norm > tolerance).count();
    if directed == 0 {
        return Ok(case.sum(vec![0.0; n]));
    }
    let unit: Vec<f64> = norms.iter().map(|norm| if *norm > tolerance { 1.0 / norm } else { 0.0 }).collect();
    let share = 1.0 / directed as f64;
    let mut mean: Vec<f64> = unit.iter().map(|u| share * u).collect();
    let norm = gram.norm(&mean);
    if norm < tolerance {
        let first = unit.iter().position(|u| *u > 0.0);
        mean = (0..n).map(|i| if Some(i) == first { unit[i] } else { 0.0 }).collect();
    } else {
        mean.iter_mut().for_each(|c| *c /= norm);
    }
    let mut step = 0.0;
    while step < steps {
        step += 1.0;
        let mut tangent = vec![0.0; n];
        let mut along = 0.0;
        for i in (0..n).filter(|i| unit[*i] > 0.0) {
            let cosine = (gram.dot(i, &mean) * unit[i]).clamp(-1.0, 1.0);
            let angle = cosine.acos();
            if angle >= tolerance {
                let pull = share * angle / angle.sin();
                tangent[i] += pull * unit[i];
                along += pull * cosine;
            }
        }
        tangent.iter_mut().zip(&mean).for_each(|(t, m)| *t -= along * m);
        let length = gram.norm(&tangent);
        if length < tolerance {
            break;
        }
        mean.iter_mut().zip(&tangent).for_each(|(m, t)| *m = length.cos() * *m + length.sin() * t / length);
        let norm = gram.norm(&mean);
        mean.iter_mut().for_each(|c| *c /= norm);
    }
    Ok(case.sum(mean.into_iter().map(|c| scale * c)))
}
