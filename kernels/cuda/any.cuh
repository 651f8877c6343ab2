// Every program over sources that may have differences of low rank on top, in one kernel for each destination type: what is rare, or waits for
// memory more than for anything else, needs none of its own.
#pragma once

#include "combine.cuh"
#include "rare.cuh"

struct EightValues {
    float w[8];
};

// Eight elements from `element` of the launch on, which are in one row, with what is on top of them: each product rounded, and each sum.
DEVICE void add(const JobLowRank &low_rank, u64 element, float *w) {
    const u32 row = low_rank.first + (u32) element / low_rank.width, column = (u32) element % low_rank.width;
    const u64 matrix = row / low_rank.rows;
    const u8 *a = (const u8 *) low_rank.a + 4 * (matrix * low_rank.rank * low_rank.width + column);
    const u8 *b = (const u8 *) low_rank.b + 4 * ((u64) row * low_rank.rank);
    float sum[8];
    UNROLL for (int i = 0; i < 8; ++i) sum[i] = 0;
    UNROLL_FOUR for (u32 k = 0; k < low_rank.rank; ++k) {
        const float factor = load<float>(b + 4 * k);
        const u8 *at = a + 4 * ((u64) k * low_rank.width);
        float x[8];
        F32::decode(at, 0, x);
        UNROLL for (int i = 0; i < 8; ++i) sum[i] = sum[i] + factor * x[i];
    }
    UNROLL for (int i = 0; i < 8; ++i) w[i] = w[i] + sum[i];
}

SHARED_CODE EightValues with_low_rank(const Job &job, u32 s, const u8 *shared, u64 first, int chunk, int part) {
    const JobSource &source = job.source[s];
    const u64 element = first + chunk * 32 + part * 8;
    EightValues values;
    decode(source.type, shared + source.at, chunk, part, values.w);
    // A chunk may end behind the tensor.
    if (element < job.elements) {
        ROLLED for (u32 at = source.low_rank[0]; at < source.low_rank[1]; ++at) add(job.low_rank[at], element, values.w);
    }
    return values;
}

// Sources that may have differences of low rank on top.
struct LowRank {
    static DEVICE void values(const Job &job, u32 s, const u8 *shared, u64 first, int chunk, int part, float *w) {
        const EightValues values = with_low_rank(job, s, shared, first, chunk, part);
        UNROLL for (int i = 0; i < 8; ++i) w[i] = values.w[i];
    }
};

// What `Job::program` says.
struct Any {
    static DEVICE void draw(const Job &job, const Block &block, u64 first, int t) {
        if (job.program == TASK_VECTORS) TaskVectors<LowRank>::draw(job, block, first, t);
    }

    static DEVICE void combine(const Job &job, const u8 *shared, int chunk, int part, u64 first, int here, float *merged) {
        switch (job.program) {
            case SUM: return Sum<LowRank>::combine(job, shared, chunk, part, first, here, merged);
            case LINE_SUM: return LineSum<LowRank>::combine(job, shared, chunk, part, first, merged);
            case ELECTED: return Elected<LowRank>::combine(job, shared, chunk, part, first, merged);
            case OVERLAP: return Overlap<LowRank>::combine(job, shared, chunk, part, first, merged);
            case NEAR: return Near<LowRank>::combine(job, shared, chunk, part, first, merged);
            case IMPORTANT: return Important<LowRank>::combine(job, shared, chunk, part, first, merged);
            default: return TaskVectors<LowRank>::combine(job, shared, chunk, part, first, here, merged);
        }
    }
};
