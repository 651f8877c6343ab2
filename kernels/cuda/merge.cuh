// One tile of one destination tensor by one block of threads: sources into shared memory, 32 elements for each thread, blocks out.
#pragma once

#include "any.cuh"
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

DEVICE void fetch(const JobSource &source, const Block &block, int t) {
    fetch(source.address, source.bytes, source.tile_bytes, block.index, block.shared + source.at, t, block.threads);
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
                const u32 low = Encoder<To>::one(merged_at(columns, at)), high = Encoder<To>::one(merged_at(columns, at + 1));
                if (at + 1 < here) store<u32>(to + 2 * at, low | high << 16);
                else store<u16>(to + 2 * at, (u16) low);
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
    THREADS(t) {
        ROLLED for (u32 s = 0; s < job.sources; ++s) fetch(job.source[s], block, t);
        Program::draw(job, block, first, t);
        copied();
    }
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

// Threads of `merge_two`.
constexpr int TWO_THREADS = 128;

// `BYTES` bytes by that many threads, all of them loaded before the first is stored.
template <int BYTES> struct Whole {
    static constexpr int EACH = BYTES / 16 / TWO_THREADS, REST = BYTES / 16 % TWO_THREADS;
    static_assert(BYTES % 16 == 0, "tiles are");
    FourWords words[EACH + 1];

    DEVICE void get(const u8 *from, int t) {
        UNROLL for (int i = 0; i < EACH; ++i) words[i] = load<FourWords>(from + 16 * (i * TWO_THREADS + t));
        if (t < REST) words[EACH] = load<FourWords>(from + 16 * (EACH * TWO_THREADS + t));
    }
    DEVICE void put(u8 *to, int t) const {
        UNROLL for (int i = 0; i < EACH; ++i) store<FourWords>(to + 16 * (i * TWO_THREADS + t), words[i]);
        if (t < REST) store<FourWords>(to + 16 * (EACH * TWO_THREADS + t), words[EACH]);
    }
};

// A sum of two sources of types known beforehand, without a constant: its elements stay in registers from the one block to the other. In
// Q8_0 all zeros are the same.
template <class A, class B> DEVICE void merge_two(const Job &job, const Block &block) {
    constexpr int TILE = TWO_THREADS * 32;
    constexpr int A_BYTES = TILE / A::ELEMENTS * A::BYTES, B_BYTES = TILE / B::ELEMENTS * B::BYTES, BYTES = TILE / 32 * Q8_0::BYTES;
    const u64 first = block.index * TILE;
    const int here = job.elements - first < (u64) TILE ? (int) (job.elements - first) : TILE;
    const JobSource &a = job.source[0], &b = job.source[1];
    u8 *tile_a = block.shared, *tile_b = tile_a + A_BYTES, *out = tile_b + B_BYTES;
    THREADS(t) {
        if (here == TILE) {
            Whole<A_BYTES> bytes_a;
            Whole<B_BYTES> bytes_b;
            bytes_a.get((const u8 *) a.address + block.index * A_BYTES, t);
            bytes_b.get((const u8 *) b.address + block.index * B_BYTES, t);
            bytes_a.put(tile_a, t);
            bytes_b.put(tile_b, t);
        } else {
            fetch(a, block, t);
            fetch(b, block, t);
            copied();
        }
    }
    BARRIER;
    THREADS(t) {
        if (t * 32 < here) {
            float merged[32];
            UNROLL for (int part = 0; part < 4; ++part) {
                float w[8];
                decode_but_zeros<A>(tile_a, t, part, w);
                UNROLL for (int i = 0; i < 8; ++i) merged[8 * part + i] = a.coefficient * w[i];
                decode_but_zeros<B>(tile_b, t, part, w);
                UNROLL for (int i = 0; i < 8; ++i) merged[8 * part + i] += b.coefficient * w[i];
            }
            Encoder<Q8_0>::encode(merged, out + t * Q8_0::BYTES);
        }
    }
    BARRIER;
    u8 *to = (u8 *) job.destination + block.index * BYTES;
    THREADS(t) {
        if (here == TILE) {
            Whole<BYTES> bytes;
            bytes.get(out, t);
            bytes.put(to, t);
        } else {
            write(out, to, here / 32 * Q8_0::BYTES, t, block.threads);
        }
    }
}

// A sum of two sources of one type of 16 bits to that type: eight elements at a time, from memory to memory.
template <class Of> DEVICE void merge_halves(const Job &job, const Block &block) {
    constexpr int PARTS = 4;
    const u64 first = block.index * block.threads * (8 * PARTS), eights = job.elements / 8;
    const JobSource &a = job.source[0], &b = job.source[1];
    const u8 *from_a = (const u8 *) a.address, *from_b = (const u8 *) b.address;
    u8 *to = (u8 *) job.destination;
    THREADS(t) {
        FourWords words_a[PARTS], words_b[PARTS];
        UNROLL for (int part = 0; part < PARTS; ++part) {
            const u64 number = first / 8 + part * block.threads + t;
            if (number < eights) {
                words_a[part] = load<FourWords>(from_a + 16 * number);
                words_b[part] = load<FourWords>(from_b + 16 * number);
            }
        }
        UNROLL for (int part = 0; part < PARTS; ++part) {
            const u64 number = first / 8 + part * block.threads + t;
            if (number < eights) {
                FourWords merged;
                UNROLL for (int i = 0; i < 4; ++i) {
                    const u32 x = words_a[part].word[i], y = words_b[part].word[i];
                    const float low = job.constant + a.coefficient * Of::number((u16) x) + b.coefficient * Of::number((u16) y);
                    const float high = job.constant + a.coefficient * Of::number(x >> 16) + b.coefficient * Of::number(y >> 16);
                    merged.word[i] = Encoder<Of>::one(low) | Encoder<Of>::one(high) << 16;
                }
                store<FourWords>(to + 16 * number, merged);
            }
        }
        // What is left over, of a tensor of any number of elements.
        const u64 at = 8 * eights + t;
        if (block.index == 0 && at < job.elements) {
            const float x = Of::number(load<u16>(from_a + 2 * at)), y = Of::number(load<u16>(from_b + 2 * at));
            store<u16>(to + 2 * at, (u16) Encoder<Of>::one(job.constant + a.coefficient * x + b.coefficient * y));
        }
    }
}
