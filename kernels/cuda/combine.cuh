// The arithmetic of programs over eight elements: sources in shared memory to merged floats, operation by operation as src/combine.rs and
// src/mix.rs have them. `Values` says how a program reads its sources.
#pragma once

#include "decode.cuh"
#include "job.cuh"
#include "mask.cuh"

// Elements that `run` combines together: what becomes of dropped ones depends on whether all of them have the same bounds.
constexpr int TILE = 2048;

// Sources that are their blocks and nothing else.
struct Plain {
    // Elements of source `s` from `8 * part` on of a chunk of the tile that begins at element `first`.
    static DEVICE void values(const Job &job, u32 s, const u8 *shared, u64, int chunk, int part, float *w) {
        decode(job.source[s].type, shared + job.source[s].at, chunk, part, w);
    }
};

// `constant + sum_i coefficient_i * W_i`
template <class Values> struct Sum {
    static DEVICE void draw(const Job &, const Block &, u64, int) {}

    static DEVICE void combine(const Job &job, const u8 *shared, int chunk, int part, u64 first, int, float *merged) {
        UNROLL for (int i = 0; i < 8; ++i) merged[i] = job.constant;
        ROLLED for (u32 s = 0; s < job.sources; ++s) {
            float w[8];
            Values::values(job, s, shared, first, chunk, part, w);
            const float coefficient = job.source[s].coefficient;
            UNROLL for (int i = 0; i < 8; ++i) merged[i] = job.flags & COPY ? w[i] : merged[i] + coefficient * w[i];
        }
    }
};

// Which differences of one vector stay, of the elements of a chunk.
struct Stays {
    // Positions in the block's tile of the first ties that are dropped, for either bound.
    int from_end, to_end;
    // Whether dropped elements are made equal to the base instead of their difference zero, which may differ in the sign of a zero.
    bool thinned;

    // Of elements that `run` combines with those from `start` to `last`.
    DEVICE Stays(const Job &job, const JobSource &source, u64 first, int start, int last) {
        from_end = position(source.ties_end[0], first);
        to_end = position(source.ties_end[1], first);
        if (source.mask) thinned = !(job.flags & DRAWN && (last + 1 - start) % 64 == 0);
        else thinned = parts(source.from, from_end, start, last) || parts(source.to, to_end, start, last);
    }

    static DEVICE int position(u64 index, u64 first) {
        return index <= first ? 0 : index - first > 1 << 20 ? 1 << 20 : (int) (index - first);
    }
    static DEVICE bool parts(const int32_t *bounds, int end, int start, int last) {
        return bounds[0] != bounds[1] && start < end && last >= end;
    }

    // The differences of eight elements from `position` on, times their factor; of those that are dropped, of `base` to itself if they are
    // thinned out.
    DEVICE void deltas(const JobSource &source, u32 mask, const float *w, const float *base, int position, float *delta) const {
        const float factor = source.coefficient;
        if (source.mask) {
            UNROLL for (int i = 0; i < 8; ++i) {
                const float dropped = thinned ? (base[i] - base[i]) * factor : 0;
                delta[i] = mask >> (i / 2 * 8 + i % 2) & 1 ? (w[i] - base[i]) * factor : dropped;
            }
        } else if (thinned) {
            UNROLL for (int i = 0; i < 8; ++i) {
                const int from = source.from[0], from_after = source.from[1], to = source.to[0], to_after = source.to[1];
                const bool stays = in_band(w[i] - base[i], position + i < from_end ? from : from_after, position + i < to_end ? to : to_after);
                delta[i] = ((stays ? w[i] : base[i]) - base[i]) * factor;
            }
        } else {
            const int from = source.from[position >= from_end], to = source.to[position >= to_end];
            UNROLL for (int i = 0; i < 8; ++i) {
                const float difference = w[i] - base[i];
                delta[i] = in_band(difference, from, to) ? difference * factor : 0;
            }
        }
    }

    static DEVICE bool in_band(float difference, int from, int to) {
        const int magnitude = (int) (bits(difference) & 0x7FFFFFFF);
        return magnitude > from && magnitude <= to;
    }
};

// `base + lambda * mix_i(weight_i * rescale_i * sparsify_i(W_i - base))`
template <class Values> struct TaskVectors {
    static DEVICE void draw(const Job &job, const Block &block, u64 first, int t) {
        ROLLED for (u32 s = 1; s < job.sources; ++s)
            if (job.source[s].mask) ::draw(job.source[s], first, t, block.shared + job.source[s].mask);
    }

    static DEVICE void combine(const Job &job, const u8 *shared, int chunk, int part, u64 first, int here, float *merged) {
        const int start = chunk * 32 / TILE * TILE, last = (start + TILE < here ? start + TILE : here) - 1;
        // Of what votes for either sign: sums, and those of the weights.
        float base[8], total[8], above[8], below[8], weights_above[8], weights_below[8];
        Values::values(job, 0, shared, first, chunk, part, base);
        UNROLL for (int i = 0; i < 8; ++i) total[i] = above[i] = below[i] = weights_above[i] = weights_below[i] = 0;
        ROLLED for (u32 s = 1; s < job.sources; ++s) {
            const JobSource &source = job.source[s];
            const Stays stays(job, source, first, start, last);
            const u32 mask = source.mask ? drawn(shared + source.mask, chunk, part) : 0;
            float w[8], delta[8];
            Values::values(job, s, shared, first, chunk, part, w);
            stays.deltas(source, mask, w, base, chunk * 32 + part * 8, delta);
            // The sum of two is that of their differences alone, which need not be zero plus these.
            if (s == 1 && job.sources == 3) {
                UNROLL for (int i = 0; i < 8; ++i) total[i] = delta[i];
            } else {
                UNROLL for (int i = 0; i < 8; ++i) total[i] = total[i] + delta[i];
            }
            if (job.flags & CONSENSUS) {
                UNROLL for (int i = 0; i < 8; ++i) {
                    const bool up = delta[i] > 0, down = delta[i] < 0;
                    if (up) above[i] = above[i] + delta[i];
                    if (down) below[i] = below[i] + delta[i];
                    if (up) weights_above[i] = weights_above[i] + source.weight;
                    if (down) weights_below[i] = weights_below[i] + source.weight;
                }
            }
        }
        if (!(job.flags & CONSENSUS)) {
            UNROLL for (int i = 0; i < 8; ++i) merged[i] = base[i] + total[i] * job.share;
            return;
        }
        UNROLL for (int i = 0; i < 8; ++i) {
            const bool down = bits(total[i]) >> 31;
            merged[i] = base[i] + (down ? below[i] : above[i]) * share(job, down ? weights_below[i] : weights_above[i]);
        }
    }

    static DEVICE float share(const Job &job, float weights) {
        if (!(job.flags & NORMALIZE)) return job.lambda;
        if (!(job.flags & LISTED)) return weights == 0 ? job.lambda : job.lambda / weights;
        // No division where there are so few sums.
        float share = job.lambda;
        UNROLL for (int i = 0; i < 3; ++i) share = weights == job.weights[i] ? job.shares[i] : share;
        return share;
    }
};
