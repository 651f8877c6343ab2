// One tile of one destination tensor by one block of threads: sources into shared memory, 32 elements for each thread, blocks out.
#pragma once

#include "combine.cuh"
#include "encode_k.cuh"

// Floats from the start of one thread's 32 elements to that of the next one's: no two in one bank.
constexpr int STRIDE = 33;

// The bytes of tile `index` of a tensor whose tiles have `tile_bytes` but for the last, into shared memory.
DEVICE void fetch(u64 address, u64 bytes, u32 tile_bytes, u64 index, u8 *to, int t, int threads) {
    const u64 start = index * tile_bytes;
    const u8 *from = (const u8 *) address + start;
    const u32 here = bytes - start < tile_bytes ? (u32) (bytes - start) : tile_bytes, whole = here / 16 * 16;
    for (u32 at = t * 16; at < whole; at += threads * 16) copy16(to + at, from + at);
    for (u32 at = whole + t; at < here; at += threads) to[at] = from[at];
}

DEVICE void fetch_all(const Job &job, const Block &block, u64 first, int t) {
    for (u32 s = 0; s < job.sources; ++s) {
        const JobSource &source = job.source[s];
        fetch(source.address, source.bytes, source.tile_bytes, block.index, block.shared + source.at, t, block.threads);
        if (source.mask) draw(source, first, t, block.shared + source.mask);
    }
    copied();
}

// `bytes` of shared memory to where a tile of the destination is.
DEVICE void write(const u8 *from, u8 *to, u32 bytes, int t, int threads) {
    const u32 whole = bytes / 16 * 16;
    for (u32 at = t * 16; at < whole; at += threads * 16) write16(to + at, from + at);
    for (u32 at = whole + t; at < bytes; at += threads) to[at] = from[at];
}

// How a destination's tile gets from columns of merged floats to memory. Types by themselves, in blocks of 32 or in super-blocks.
template <class To> struct Finish {
    static DEVICE void finish(const Job &job, const Block &block, float *columns, u64 first, int here) {
        if constexpr (To::ELEMENTS == 32) {
            THREADS(t) {
                if (t * 32 < here) Encoder<To>::encode(columns + t * STRIDE, block.shared + t * To::BYTES);
            }
            BARRIER;
        } else {
            constexpr int CHUNKS = To::ELEMENTS / 32;
            Fit *fits = (Fit *) (block.shared + block.threads / CHUNKS * To::BYTES);
            THREADS(t) {
                if (t * 32 < here) fits[t] = SuperEncoder<To>::fit(columns + t * STRIDE);
            }
            BARRIER;
            THREADS(t) {
                const int number = t / CHUNKS;
                if (t * 32 < here) SuperEncoder<To>::quantize(fits + number * CHUNKS, t % CHUNKS, columns + t * STRIDE, block.shared + number * To::BYTES);
            }
            BARRIER;
            THREADS(t) {
                const int number = t / CHUNKS;
                if (t * 32 < here) SuperEncoder<To>::pack(columns + number * CHUNKS * STRIDE, STRIDE, t % CHUNKS, block.shared + number * To::BYTES);
            }
            BARRIER;
        }
        u8 *to = (u8 *) job.destination + first / To::ELEMENTS * To::BYTES;
        THREADS(t) write(block.shared, to, here / To::ELEMENTS * To::BYTES, t, block.threads);
    }
};

DEVICE float merged_at(const float *columns, int element) { return columns[element / 32 * STRIDE + element % 32]; }

template <> struct Finish<F32> {
    static DEVICE void finish(const Job &job, const Block &block, float *columns, u64 first, int here) {
        float *to = (float *) job.destination + first;
        THREADS(t) {
            for (int at = t; at < here; at += block.threads) to[at] = merged_at(columns, at);
        }
    }
};

template <class To> struct FinishHalves {
    static DEVICE void finish(const Job &job, const Block &block, float *columns, u64 first, int here) {
        u8 *to = (u8 *) job.destination + 2 * first;
        THREADS(t) {
            for (int at = 2 * t; at < here; at += 2 * block.threads) {
                // Of an odd number of elements the last one has a neighbour in the columns, if none in the tensor.
                const u32 two = Encoder<To>::two(merged_at(columns, at), merged_at(columns, at + 1));
                if (at + 1 < here) store<u32>(to + 2 * at, two);
                else store<u16>(to + 2 * at, (u16) two);
            }
        }
    }
};

template <> struct Finish<F16> : FinishHalves<F16> {};
template <> struct Finish<BF16> : FinishHalves<BF16> {};

// Any sources.
template <class Program, class To> DEVICE void merge(const Job &job, const Block &block) {
    const int tile = block.threads * 32;
    const u64 first = block.index * tile;
    const int here = job.elements - first < (u64) tile ? (int) (job.elements - first) : tile;
    float *columns = (float *) (block.shared + job.columns);
    THREADS(t) fetch_all(job, block, first, t);
    BARRIER;
    THREADS(t) {
        if (t * 32 < here) {
            ROLLED for (int part = 0; part < 4; ++part) {
                float merged[8];
                Program::combine(job, block.shared, t, part, first, here, merged);
                UNROLL for (int i = 0; i < 8; ++i)
                    columns[t * STRIDE + 8 * part + i] = job.flags & SCALED ? merged[i] * job.factor : merged[i];
            }
        }
    }
    BARRIER;
    Finish<To>::finish(job, block, columns, first, here);
}

// A sum of two sources of types known beforehand: its elements stay in registers from the one block to the other.
template <class A, class B, class To> DEVICE void merge_two(const Job &job, const Block &block) {
    const int tile = block.threads * 32;
    const u64 first = block.index * tile;
    const int here = job.elements - first < (u64) tile ? (int) (job.elements - first) : tile;
    u8 *out = block.shared + job.columns;
    THREADS(t) fetch_all(job, block, first, t);
    BARRIER;
    THREADS(t) {
        if (t * 32 < here) {
            const JobSource &a = job.source[0], &b = job.source[1];
            float merged[32];
            UNROLL for (int part = 0; part < 4; ++part) {
                float w[8];
                decode<A>(block.shared + a.at, t, part, w);
                UNROLL for (int i = 0; i < 8; ++i) merged[8 * part + i] = job.constant + a.coefficient * w[i];
                decode<B>(block.shared + b.at, t, part, w);
                UNROLL for (int i = 0; i < 8; ++i) merged[8 * part + i] += b.coefficient * w[i];
            }
            Encoder<To>::encode(merged, out + t * To::BYTES);
        }
    }
    BARRIER;
    u8 *to = (u8 *) job.destination + first / To::ELEMENTS * To::BYTES;
    THREADS(t) write(out, to, here / To::ELEMENTS * To::BYTES, t, block.threads);
}
