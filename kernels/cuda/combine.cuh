// The arithmetic of programs over eight elements: sources in shared memory to merged floats, operation by operation as src/combine.rs and
// src/mix.rs have them.
#pragma once

#include "decode.cuh"
#include "job.cuh"
#include "mask.cuh"

// Elements that `run` combines together: what becomes of dropped ones depends on whether all of them have the same bounds.
constexpr int TILE = 2048;

// `constant + sum_i coefficient_i * W_i`
struct Sum {
    static DEVICE void combine(const Job &job, const u8 *shared, int chunk, int part, u64, int, float *merged) {
        UNROLL for (int i = 0; i < 8; ++i) merged[i] = job.constant;
        ROLLED for (u32 s = 0; s < job.sources; ++s) {
            float w[8];
            decode(job.source[s].type, shared + job.source[s].at, chunk, part, w);
            const float coefficient = job.source[s].coefficient;
            UNROLL for (int i = 0; i < 8; ++i) merged[i] = job.flags & COPY ? w[i] : merged[i] + coefficient * w[i];
        }
    }
};

// What becomes of the differences of one vector, for the elements of a chunk: positions are in the CTA's tile.
struct Stays {
    bool random;
    // Whether dropped elements are made equal to the base instead of their difference zero, which may differ in the sign of a zero.
    bool thinned;
    // Positions of the first ties that are dropped.
    int from_end, to_end;
    u32 mask;

    DEVICE Stays(const Job &job, const JobSource &source, const u8 *shared, int chunk, int part, u64 first, int here) {
        const int start = chunk * 32 / TILE * TILE, last = (start + TILE < here ? start + TILE : here) - 1;
        random = source.mask != 0;
        from_end = position(source.ties_end[0], first);
        to_end = position(source.ties_end[1], first);
        if (random) {
            mask = drawn(shared + source.mask, chunk, part);
            thinned = !(job.flags & DRAWN && (last + 1 - start) % 64 == 0);
        } else {
            mask = 0;
            thinned = (source.from[0] != source.from[1] && start < from_end && last >= from_end)
                || (source.to[0] != source.to[1] && start < to_end && last >= to_end);
        }
    }

    static DEVICE int position(u64 index, u64 first) {
        return index <= first ? 0 : index - first > 1 << 20 ? 1 << 20 : (int) (index - first);
    }

    // The difference of element `i`, which is the one at `position`, times the factor, if it stays.
    DEVICE float delta(const JobSource &source, float w, float base, int i, int position) const {
        const float difference = w - base;
        const int magnitude = (int) (bits(difference) & 0x7FFFFFFF);
        const bool in_band = magnitude > source.from[position >= from_end] && magnitude <= source.to[position >= to_end];
        const bool stays = random ? mask >> (i / 2 * 8 + i % 2) & 1 : in_band;
        return stays ? difference * source.coefficient : thinned ? (base - base) * source.coefficient : 0.0f;
    }
};

// `base + lambda * mix_i(weight_i * rescale_i * sparsify_i(W_i - base))`
struct TaskVectors {
    static DEVICE void combine(const Job &job, const u8 *shared, int chunk, int part, u64 first, int here, float *merged) {
        const int position = chunk * 32 + part * 8;
        float base[8], total[8], above[8], below[8], weights_above[8], weights_below[8];
        decode(job.source[0].type, shared + job.source[0].at, chunk, part, base);
        const bool two = job.sources == 3;
        UNROLL for (int i = 0; i < 8; ++i) total[i] = above[i] = below[i] = weights_above[i] = weights_below[i] = 0;
        ROLLED for (u32 s = 1; s < job.sources; ++s) {
            const JobSource &source = job.source[s];
            const Stays stays(job, source, shared, chunk, part, first, here);
            float w[8];
            decode(source.type, shared + source.at, chunk, part, w);
            UNROLL for (int i = 0; i < 8; ++i) {
                const float delta = stays.delta(source, w[i], base[i], i, position + i);
                // The sum of two is that of their differences alone, which need not be zero plus these.
                total[i] = two && s == 1 ? delta : total[i] + delta;
                above[i] = delta > 0 ? above[i] + delta : above[i];
                below[i] = delta < 0 ? below[i] + delta : below[i];
                weights_above[i] = delta > 0 ? weights_above[i] + source.weight : weights_above[i];
                weights_below[i] = delta < 0 ? weights_below[i] + source.weight : weights_below[i];
            }
        }
        UNROLL for (int i = 0; i < 8; ++i) {
            float mixed;
            if (job.flags & CONSENSUS) {
                const bool elects_below = bits(total[i]) >> 31;
                const float sum = elects_below ? below[i] : above[i], weights = elects_below ? weights_below[i] : weights_above[i];
                mixed = sum * (job.flags & NORMALIZE && weights != 0 ? job.lambda / weights : job.lambda);
            } else {
                mixed = total[i] * job.share;
            }
            merged[i] = base[i] + mixed;
        }
    }
};
