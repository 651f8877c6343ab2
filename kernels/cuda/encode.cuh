// Floats to blocks of 32 elements: what src/encode/legacy.rs does, by one thread for each block.
//
// `x` are a block's values, in registers or in shared memory; the block is in shared memory.
#pragma once

#include "decode.cuh"

// As processors truncate, and Rust does not: what no number of 32 bits is near becomes the least of them.
DEVICE int truncate(float value) { return value >= -2147483648.0f && value < 2147483648.0f ? to_int(value) : (int) 0x80000000; }
// To the nearest whole number, ties to even, of what is less than 2^22.
DEVICE float nearest(float value) { return value + 12582912.0f - 12582912.0f; }
// The second where either is NaN or both are zeros, which the ones of the language do not promise.
DEVICE float lesser(float a, float b) { return a < b ? a : b; }
DEVICE float greater(float a, float b) { return a > b ? a : b; }
DEVICE float inverse(float d) { return d == 0 ? 0 : 1.0f / d; }

DEVICE u32 four(u32 a, u32 b, u32 c, u32 d) { return pick(pick(a, b, 0x0040), pick(c, d, 0x0040), 0x5410); }

// A half and words behind it, at an address that is a multiple of two.
template <int WORDS> DEVICE void put2(u8 *block, u16 d, const u32 *words) {
    const bool odd = (uintptr_t) block & 2;
    u8 *to = block + (odd ? 2 : 0);
    u32 before = (u32) d << 16;
    UNROLL for (int i = 0; i < WORDS; ++i) {
        store<u32>(to + 4 * i, pick(before, words[i], odd ? 0x7654 : 0x5432));
        before = words[i];
    }
    store<u16>(odd ? block : block + 4 * WORDS, (u16) (odd ? d : before >> 16));
}

template <class To> struct Encoder;

template <> struct Encoder<Q8_0> {
    static DEVICE void encode(const float *x, u8 *block) {
        float greatest = 0;
        UNROLL for (int i = 0; i < 32; ++i) greatest = greater_magnitude(greatest, x[i]);
        const float d = greatest / 127.0f, id = inverse(d);
        // The inverse of next to nothing is infinite as well.
        const bool finite = bits(greatest) <= 0x7F7FFFFF && bits(id) <= 0x7F7FFFFF;
        u32 words[8];
        if (finite) {
            UNROLL for (int i = 0; i < 8; ++i) words[i] = four_small(quantum(x[4 * i], id), quantum(x[4 * i + 1], id), quantum(x[4 * i + 2], id), quantum(x[4 * i + 3], id));
        } else {
            UNROLL for (int i = 0; i < 8; ++i) words[i] = four(any_quantum(x[4 * i], id), any_quantum(x[4 * i + 1], id), any_quantum(x[4 * i + 2], id), any_quantum(x[4 * i + 3], id));
        }
        put2<8>(block, to_half(d), words);
    }

    // Half away from zero: the greatest float below 0.5 makes truncation round.
    static DEVICE float rounded(float v) { return v + as_float((bits(v) & 0x80000000) | 0x3EFFFFFF); }
    static DEVICE int quantum(float x, float id) { return to_int(rounded(x * id)); }
    static DEVICE u32 any_quantum(float x, float id) { return (u32) truncate(rounded(x * id)); }
};

// `(x - least) * id + offset`, towards zero, as bytes.
template <int BITS> DEVICE void quanta(const float *x, float least, float id, float offset, u32 *words) {
    UNROLL for (int i = 0; i < 8; ++i) {
        u32 q[4];
        UNROLL for (int k = 0; k < 4; ++k)
            q[k] = (u32) truncate(lesser((x[4 * i + k] - least) * id + offset, (float) (1 << BITS) - 0.5f));
        words[i] = four(q[0], q[1], q[2], q[3]);
    }
}

// The nibbles of 32 quanta, the first half in the lower ones.
DEVICE void pack_nibbles(const u32 *quanta, u32 *words) {
    UNROLL for (int i = 0; i < 4; ++i) words[i] = (quanta[i] & 0x0F0F0F0F) | (quanta[i + 4] << 4 & 0xF0F0F0F0);
}

// The fifth bits of 32 quanta, which may be wider: all that is above four is put in.
DEVICE u32 fifths(const u32 *quanta) {
    u32 fifths = 0;
    UNROLL for (int i = 0; i < 32; ++i) fifths |= (quanta[i / 4] >> i % 4 * 8 + 4 & 0xF) << i;
    return fifths;
}

template <int BITS> DEVICE void symmetric(const float *x, u16 *d, u32 *words) {
    constexpr float MIDDLE = 1 << (BITS - 1);
    float magnitude = 0, greatest = 0;
    UNROLL for (int i = 0; i < 32; ++i) {
        const bool more = fabsf(x[i]) > magnitude;
        magnitude = more ? fabsf(x[i]) : magnitude;
        greatest = more ? x[i] : greatest;
    }
    const float scale = greatest / -MIDDLE;
    *d = to_half(scale);
    quanta<BITS>(x, 0, inverse(scale), MIDDLE + 0.5f, words);
}

// The scale and the offset as a word.
template <int BITS> DEVICE u32 offset(const float *x, u32 *words) {
    float least = 3.40282347e38f, greatest = -3.40282347e38f;
    UNROLL for (int i = 0; i < 32; ++i) {
        least = lesser(x[i], least);
        greatest = greater(x[i], greatest);
    }
    const float d = (greatest - least) / (float) ((1 << BITS) - 1);
    quanta<BITS>(x, least, inverse(d), 0.5f, words);
    return to_half(d) | (u32) to_half(least) << 16;
}

template <> struct Encoder<Q4_0> {
    static DEVICE void encode(const float *x, u8 *block) {
        u16 d;
        u32 quanta[8], words[4];
        symmetric<4>(x, &d, quanta);
        pack_nibbles(quanta, words);
        put2<4>(block, d, words);
    }
};

template <> struct Encoder<Q5_0> {
    static DEVICE void encode(const float *x, u8 *block) {
        u16 d;
        u32 quanta[8], words[5];
        symmetric<5>(x, &d, quanta);
        words[0] = fifths(quanta);
        pack_nibbles(quanta, words + 1);
        put2<5>(block, d, words);
    }
};

template <> struct Encoder<Q4_1> {
    static DEVICE void encode(const float *x, u8 *block) {
        u32 quanta[8], words[4];
        store<u32>(block, offset<4>(x, quanta));
        pack_nibbles(quanta, words);
        UNROLL for (int i = 0; i < 4; ++i) store<u32>(block + 4 + 4 * i, words[i]);
    }
};

template <> struct Encoder<Q5_1> {
    static DEVICE void encode(const float *x, u8 *block) {
        u32 quanta[8], words[4];
        store<u32>(block, offset<5>(x, quanta));
        store<u32>(block + 4, fifths(quanta));
        pack_nibbles(quanta, words);
        UNROLL for (int i = 0; i < 4; ++i) store<u32>(block + 8 + 4 * i, words[i]);
    }
};

// Types of 16 bits: one number, in the lower half.
template <> struct Encoder<F16> {
    static DEVICE u32 one(float value) { return to_half(value); }
};

template <> struct Encoder<BF16> {
    static DEVICE u32 one(float value) {
        const u32 upper = bits(value) >> 16;
        return value == value ? bits(value) + 0x7FFF + (upper & 1) >> 16 : upper | 64;
    }
};
