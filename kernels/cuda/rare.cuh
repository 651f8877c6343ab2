// The arithmetic of the programs that are not run often over eight elements, operation by operation as src/combine.rs has it. To decode a
// source again is as good as to keep its differences.
#pragma once

#include "combine.cuh"

// What lines say of eight elements from `element` of the launch on; nothing of those behind its end.
struct Lines {
    u32 line[8];

    DEVICE Lines(const Job &job, u64 element) {
        u64 row = element / job.row;
        u32 column = (u32) (element % job.row);
        UNROLL for (int i = 0; i < 8; ++i) {
            // Any line that there is.
            if (element + i >= job.elements) row = column = 0;
            line[i] = job.flags & COLUMNS ? column : (u32) row;
            if (++column == job.row) {
                column = 0;
                ++row;
            }
        }
    }

    DEVICE float of(const JobSource &source, int i) const { return load<float>((const u8 *) source.lines + 4 * (u64) line[i]); }
};

// `sum_i coefficient_i[line] * W_i`
template <class Values> struct LineSum {
    static DEVICE void combine(const Job &job, const u8 *shared, int chunk, int part, u64 first, float *merged) {
        const Lines lines(job, first + chunk * 32 + part * 8);
        UNROLL for (int i = 0; i < 8; ++i) merged[i] = 0;
        ROLLED for (u32 s = 0; s < job.sources; ++s) {
            float w[8];
            Values::values(job, s, shared, first, chunk, part, w);
            UNROLL for (int i = 0; i < 8; ++i) merged[i] = merged[i] + lines.of(job.source[s], i) * w[i];
        }
    }
};

// The differences of a source to the base.
template <class Values> DEVICE void differences(const Job &job, u32 s, const u8 *shared, int chunk, int part, u64 first, const float *base, float *delta) {
    Values::values(job, s, shared, first, chunk, part, delta);
    UNROLL for (int i = 0; i < 8; ++i) delta[i] = delta[i] - base[i];
}

// The base plus the average of the differences that have the sign of their sum, where their variance is large.
template <class Values> struct Elected {
    static DEVICE void combine(const Job &job, const u8 *shared, int chunk, int part, u64 first, float *merged) {
        const u64 element = first + chunk * 32 + part * 8;
        const double models = job.sources - 1;
        float base[8], delta[8], total[8], shares[8];
        double mean[8], squares[8];
        Values::values(job, 0, shared, first, chunk, part, base);
        UNROLL for (int i = 0; i < 8; ++i) merged[i] = total[i] = shares[i] = mean[i] = squares[i] = 0;
        ROLLED for (u32 s = 1; s < job.sources; ++s) {
            differences<Values>(job, s, shared, chunk, part, first, base, delta);
            UNROLL for (int i = 0; i < 8; ++i) {
                total[i] = total[i] + delta[i];
                mean[i] = mean[i] + (double) delta[i];
            }
        }
        UNROLL for (int i = 0; i < 8; ++i) mean[i] = mean[i] / models;
        ROLLED for (u32 s = 1; s < job.sources; ++s) {
            differences<Values>(job, s, shared, chunk, part, first, base, delta);
            UNROLL for (int i = 0; i < 8; ++i) {
                const double distance = (double) delta[i] - mean[i];
                squares[i] = squares[i] + distance * distance;
            }
        }
        u32 selected = 0;
        UNROLL for (int i = 0; i < 8; ++i) {
            const int from = job.source[0].from[element + i >= job.source[0].ties_end[0]];
            selected |= (u32) Stays::in_band((float) (squares[i] / models), from, 0x7FFFFFFF) << i;
        }
        ROLLED for (u32 s = 1; s < job.sources; ++s) {
            differences<Values>(job, s, shared, chunk, part, first, base, delta);
            UNROLL for (int i = 0; i < 8; ++i) {
                const bool agrees = total[i] >= 0 ? delta[i] > 0 : delta[i] < 0;
                const float share = agrees ? job.source[s].coefficient : 0;
                merged[i] = merged[i] + share * delta[i];
                shares[i] = shares[i] + share;
            }
        }
        UNROLL for (int i = 0; i < 8; ++i) {
            const float average = merged[i] / (shares[i] > 1e-6f ? shares[i] : 1e-6f);
            merged[i] = (selected >> i & 1 ? average : 0) + base[i];
        }
    }
};

// The base plus the average of the differences above a threshold; a lone one is multiplied by its coefficient instead.
template <class Values> struct Overlap {
    static DEVICE void combine(const Job &job, const u8 *shared, int chunk, int part, u64 first, float *merged) {
        float base[8], delta[8], count[8];
        Values::values(job, 0, shared, first, chunk, part, base);
        UNROLL for (int i = 0; i < 8; ++i) merged[i] = count[i] = 0;
        ROLLED for (u32 s = 1; s < job.sources; ++s) {
            differences<Values>(job, s, shared, chunk, part, first, base, delta);
            UNROLL for (int i = 0; i < 8; ++i) count[i] += fabsf(delta[i]) > job.threshold ? 1 : 0;
        }
        ROLLED for (u32 s = 1; s < job.sources; ++s) {
            differences<Values>(job, s, shared, chunk, part, first, base, delta);
            UNROLL for (int i = 0; i < 8; ++i) {
                const float factor = count[i] == 1 ? job.source[s].coefficient : 1.0f / count[i];
                merged[i] = merged[i] + (fabsf(delta[i]) > job.threshold ? delta[i] * factor : 0);
            }
        }
        UNROLL for (int i = 0; i < 8; ++i) merged[i] = merged[i] + base[i];
    }
};

// From the base towards the source by `threshold / |difference|` of the way.
template <class Values> struct Near {
    static DEVICE void combine(const Job &job, const u8 *shared, int chunk, int part, u64 first, float *merged) {
        float w[8];
        Values::values(job, 0, shared, first, chunk, part, merged);
        Values::values(job, 1, shared, first, chunk, part, w);
        UNROLL for (int i = 0; i < 8; ++i) {
            const float distance = fabsf(merged[i] - w[i]);
            float share = job.threshold / (distance > 1e-6f ? distance : 1e-6f);
            if (share < 0) share = 0;
            if (share > 1) share = 1;
            merged[i] = share * w[i] + (1 - share) * merged[i];
        }
    }
};

// The source where its difference to the base, times the divergence of its row, reaches a threshold; elsewhere the base.
template <class Values> struct Important {
    static DEVICE void combine(const Job &job, const u8 *shared, int chunk, int part, u64 first, float *merged) {
        const Lines lines(job, first + chunk * 32 + part * 8);
        float w[8];
        Values::values(job, 0, shared, first, chunk, part, merged);
        Values::values(job, 1, shared, first, chunk, part, w);
        UNROLL for (int i = 0; i < 8; ++i) {
            const float importance = fabsf((w[i] - merged[i]) * lines.of(job.source[1], i));
            if (importance >= job.threshold) merged[i] = w[i];
        }
    }
};
