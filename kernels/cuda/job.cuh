// What one launch does: the mirror of `Job` in src/cuda.rs, field by field.
#pragma once

#include "platform.cuh"

// Sources of a launch, the base of task vectors included.
constexpr int SOURCES = 16;
// Differences of low rank on top of them, all together.
constexpr int LOW_RANKS = 32;

// Values of `Job::program`, for kernels that are made for any.
constexpr u32 SUM = 0;
constexpr u32 TASK_VECTORS = 1;
constexpr u32 LINE_SUM = 2;
constexpr u32 ELECTED = 3;
constexpr u32 OVERLAP = 4;
constexpr u32 NEAR = 5;
constexpr u32 IMPORTANT = 6;

// Bits of `Job::flags`.
constexpr u32 COPY = 1;       // a sum that is its one source
constexpr u32 SCALED = 2;     // the result is multiplied by `factor`
constexpr u32 CONSENSUS = 4;  // only task vectors that have the sign of the sum count
constexpr u32 NORMALIZE = 8;  // divided by the weights that count
constexpr u32 DRAWN = 16;     // two task vectors that both have random masks
constexpr u32 LISTED = 32;    // `weights` and `shares` have all there are
constexpr u32 COLUMNS = 64;   // lines are columns, not rows

struct JobSource {
    u64 address;
    u64 bytes;
    // A float for each line.
    u64 lines;
    // Of the indices of ties, the first that is dropped: for the lower bound and for the upper one.
    u64 ties_end[2];
    // Magnitudes by their bits: those above `from` and not above `to` stay; first the bounds before `ties_end`, then those behind it.
    int32_t from[2];
    int32_t to[2];
    // ggml's number.
    u32 type;
    u32 tile_bytes;
    // Where the tile is in shared memory.
    u32 at;
    // Where the tile's mask is in shared memory; 0 for none.
    u32 mask;
    // What a sum multiplies elements by, or task vectors their differences.
    float coefficient;
    float weight;
    u32 seed[2];
    u32 stream[2];
    // Draws below it stay.
    u32 threshold;
    // Which of `Job::low_rank` are added to its elements: from the first on, before the second.
    uint16_t low_rank[2];
};

// `B * A` of `rank`, for a tensor of rows of `width` elements, a multiple of eight. Each matrix of `rows` rows has `rank` rows of `a`, each
// row `rank` factors of `b`.
struct JobLowRank {
    u64 a;
    u64 b;
    u32 rank;
    u32 width;
    u32 rows;
    // Rows before the launch's first element.
    u32 first;
};

struct Job {
    u64 elements;
    u64 destination;
    u32 sources;
    u32 flags;
    // Where in shared memory the merged elements are, in columns of one thread each.
    u32 columns;
    u32 program;
    float constant;
    float factor;
    float lambda;
    // What the sum of all task vectors is multiplied by.
    float share;
    // What differences, or what comes of them, are compared with.
    float threshold;
    // Elements of a row of which lines are made.
    u32 row;
    // Sums of the weights of two task vectors, and what is multiplied by where only those count.
    float weights[3];
    float shares[3];
    JobSource source[SOURCES];
    JobLowRank low_rank[LOW_RANKS];
};

static_assert(sizeof(JobSource) == 104 && sizeof(JobLowRank) == 32 && sizeof(Job) == 80 + SOURCES * 104 + LOW_RANKS * 32, "as in Rust");
