// Blocks to floats, eight at a time: the formats of src/decode, bit for bit.
//
// A format says how many elements and bytes its blocks have, and decodes the eight elements from `8 * part` on of a block in shared memory.
// The scale times the quantum is exact in all formats, so that what is added to it may be fused with it.
#pragma once

#include "platform.cuh"

struct Eight {
    u32 low, high;
};

struct alignas(8) TwoWords {
    u32 word[2];
};

struct alignas(16) FourWords {
    u32 word[4];
};

// Eight bytes from an address that is a multiple of eight, of four, or of two: then the words around them are read.
DEVICE Eight eight8(const u8 *from) {
    const TwoWords two = load<TwoWords>(from);
    return {two.word[0], two.word[1]};
}
DEVICE Eight eight4(const u8 *from) { return {load<u32>(from), load<u32>(from + 4)}; }
DEVICE Eight eight2(const u8 *from) {
    const u32 odd = (u32) (uintptr_t) from & 2;
    const u8 *words = from - odd;
    const u32 middle = load<u32>(words + 4);
    return {shift_right(load<u32>(words), middle, 8 * odd), shift_right(middle, load<u32>(words + 8), 8 * odd)};
}

DEVICE Eight operator&(Eight a, u32 mask) { return {a.low & mask, a.high & mask}; }
DEVICE Eight operator|(Eight a, Eight b) { return {a.low | b.low, a.high | b.high}; }
DEVICE Eight operator^(Eight a, u32 mask) { return {a.low ^ mask, a.high ^ mask}; }
DEVICE Eight operator>>(Eight a, int by) { return {a.low >> by, a.high >> by}; }
DEVICE Eight operator<<(Eight a, int by) { return {a.low << by, a.high << by}; }

// Byte `i` less `bias`: as the lowest bits of 2^23, from which the rest is taken off, exactly.
DEVICE float number(Eight bytes, int i, int bias) {
    u32 biased = pick(i < 4 ? bytes.low : bytes.high, 0x4B000000, 0x7440 | (i & 3));
    return as_float(biased) - (float) (0x800000 + bias);
}

DEVICE float half_at(const u8 *at) { return from_half(load<u16>(at)); }

// The lower four bits of bytes for the first half of a block of 32, the upper ones for the second half.
DEVICE Eight nibbles(Eight bytes, int part) { return bytes >> (part / 2 * 4) & 0x0F0F0F0F; }

// The lowest eight bits, each as bit `at` of a byte.
DEVICE Eight spread(u32 eight, int at) {
    // Each multiplication puts a copy of four bits every seven bits: bit k of copy k is the lowest one of a byte.
    return Eight{(eight & 0xF) * 0x00204081 & 0x01010101, (eight >> 4 & 0xF) * 0x00204081 & 0x01010101} << at;
}

struct F32 {
    static constexpr int ELEMENTS = 32, BYTES = 128;
    static DEVICE void decode(const u8 *block, int part, float *w) {
        UNROLL for (int half = 0; half < 2; ++half) {
            const FourWords four = load<FourWords>(block + 32 * part + 16 * half);
            UNROLL for (int i = 0; i < 4; ++i) w[4 * half + i] = as_float(four.word[i]);
        }
    }
};

// Numbers of 16 bits, of which `Of::number` makes one a float.
template <class Of> struct Halves {
    static constexpr int ELEMENTS = 32, BYTES = 64;
    static DEVICE void decode(const u8 *block, int part, float *w) {
        const FourWords four = load<FourWords>(block + 16 * part);
        UNROLL for (int i = 0; i < 4; ++i) {
            w[2 * i] = Of::number((u16) four.word[i]);
            w[2 * i + 1] = Of::number(four.word[i] >> 16);
        }
    }
};

struct F16 : Halves<F16> {
    static DEVICE float number(u16 half) { return from_half(half); }
};

struct BF16 : Halves<BF16> {
    static DEVICE float number(u16 upper) { return as_float((u32) upper << 16); }
};

// `d: f16, qs: [u8; 16]`
struct Q4_0 {
    static constexpr int ELEMENTS = 32, BYTES = 18;
    static DEVICE void decode(const u8 *block, int part, float *w) {
        const float d = half_at(block);
        const Eight q = nibbles(eight2(block + 2 + part % 2 * 8), part);
        UNROLL for (int i = 0; i < 8; ++i) w[i] = number(q, i, 8) * d;
    }
};

// `d, m: f16, qs: [u8; 16]`
struct Q4_1 {
    static constexpr int ELEMENTS = 32, BYTES = 20;
    static DEVICE void decode(const u8 *block, int part, float *w) {
        const float d = half_at(block), m = half_at(block + 2);
        const Eight q = nibbles(eight4(block + 4 + part % 2 * 8), part);
        UNROLL for (int i = 0; i < 8; ++i) w[i] = fused(number(q, i, 0), d, m);
    }
};

// `d: f16, qh: [u8; 4], qs: [u8; 16]`
struct Q5_0 {
    static constexpr int ELEMENTS = 32, BYTES = 22;
    static DEVICE void decode(const u8 *block, int part, float *w) {
        const float d = half_at(block);
        const Eight q = nibbles(eight2(block + 6 + part % 2 * 8), part) | spread(block[2 + part], 4);
        UNROLL for (int i = 0; i < 8; ++i) w[i] = number(q, i, 16) * d;
    }
};

// `d, m: f16, qh: [u8; 4], qs: [u8; 16]`
struct Q5_1 {
    static constexpr int ELEMENTS = 32, BYTES = 24;
    static DEVICE void decode(const u8 *block, int part, float *w) {
        const float d = half_at(block), m = half_at(block + 2);
        const Eight q = nibbles(eight8(block + 8 + part % 2 * 8), part) | spread(block[4 + part], 4);
        UNROLL for (int i = 0; i < 8; ++i) w[i] = fused(number(q, i, 0), d, m);
    }
};

// `d: f16, qs: [i8; 32]`
struct Q8_0 {
    static constexpr int ELEMENTS = 32, BYTES = 34;
    static DEVICE void decode(const u8 *block, int part, float *w) {
        const float d = half_at(block);
        const Eight q = eight2(block + 2 + part * 8) ^ 0x80808080;
        UNROLL for (int i = 0; i < 8; ++i) w[i] = number(q, i, 128) * d;
    }
};

// Two bits of each byte of `qs`: the quanta of Q2_K, which are the lower bits of Q3_K.
DEVICE Eight two_bits(const u8 *qs, int part) {
    const int group = part / 2;
    return eight2(qs + group / 8 * 32 + group % 2 * 16 + part % 2 * 8) >> (group / 2 % 4 * 2) & 0x03030303;
}

// `scales: [u8; 16], qs: [u8; 64], d, dmin: f16`
struct Q2_K {
    static constexpr int ELEMENTS = 256, BYTES = 84;
    static DEVICE void decode(const u8 *block, int part, float *w) {
        const int both = block[part / 2];
        const float scale = half_at(block + 80) * (float) (both & 0xF), offset = half_at(block + 82) * (float) (both >> 4);
        const Eight q = two_bits(block + 16, part);
        UNROLL for (int i = 0; i < 8; ++i) w[i] = fused(scale, number(q, i, 0), -offset);
    }
};

// `hmask: [u8; 32], qs: [u8; 64], scales: [u8; 12], d: f16`
struct Q3_K {
    static constexpr int ELEMENTS = 256, BYTES = 110;
    static DEVICE void decode(const u8 *block, int part, float *w) {
        const int group = part / 2;
        const int lower = block[96 + group % 8] >> group / 8 * 4 & 0xF, upper = block[104 + group % 4] >> group / 4 * 2 & 3;
        const float scale = half_at(block + 108) * (float) ((lower | upper << 4) - 32);
        const Eight third = (eight2(block + group % 2 * 16 + part % 2 * 8) >> group / 2 & 0x01010101) << 2;
        const Eight q = two_bits(block + 32, part) | third;
        UNROLL for (int i = 0; i < 8; ++i) w[i] = scale * number(q, i, 4);
    }
};

// The scale and the offset of the 32 elements `j` of a block of Q4_K or Q5_K (`get_scale_min_k4`), multiplied out.
DEVICE void scale_and_offset(const u8 *block, int j, float *scale, float *offset) {
    const u8 *packed = block + 4 + j % 4;
    const int a = packed[0], b = packed[4], c = packed[8];
    const int six = j < 4 ? a & 63 : (c & 0xF) | a >> 6 << 4, other = j < 4 ? b & 63 : c >> 4 | b >> 6 << 4;
    *scale = half_at(block) * (float) six;
    *offset = half_at(block + 2) * (float) other;
}

// `d, dmin: f16, scales: [u8; 12], qs: [u8; 128]`
struct Q4_K {
    static constexpr int ELEMENTS = 256, BYTES = 144;
    static DEVICE void decode(const u8 *block, int part, float *w) {
        const int j = part / 4;
        float scale, offset;
        scale_and_offset(block, j, &scale, &offset);
        const Eight q = eight8(block + 16 + j / 2 * 32 + part % 4 * 8) >> j % 2 * 4 & 0x0F0F0F0F;
        UNROLL for (int i = 0; i < 8; ++i) w[i] = fused(scale, number(q, i, 0), -offset);
    }
};

// `d, dmin: f16, scales: [u8; 12], qh: [u8; 32], qs: [u8; 128]`
struct Q5_K {
    static constexpr int ELEMENTS = 256, BYTES = 176;
    static DEVICE void decode(const u8 *block, int part, float *w) {
        const int j = part / 4;
        float scale, offset;
        scale_and_offset(block, j, &scale, &offset);
        const Eight fifth = (eight8(block + 16 + part % 4 * 8) >> j & 0x01010101) << 4;
        const Eight q = eight8(block + 48 + j / 2 * 32 + part % 4 * 8) >> j % 2 * 4 & 0x0F0F0F0F | fifth;
        UNROLL for (int i = 0; i < 8; ++i) w[i] = fused(scale, number(q, i, 0), -offset);
    }
};

// `ql: [u8; 128], qh: [u8; 64], scales: [i8; 16], d: f16`
struct Q6_K {
    static constexpr int ELEMENTS = 256, BYTES = 210;
    static DEVICE void decode(const u8 *block, int part, float *w) {
        const int half = part / 16, quarter = part / 4 % 4, at = part % 4 * 8;
        const float scale = half_at(block + 208) * (float) (int8_t) block[192 + part / 2];
        const Eight low = eight2(block + half * 64 + quarter % 2 * 32 + at) >> quarter / 2 * 4 & 0x0F0F0F0F;
        const Eight q = low | (eight2(block + 128 + half * 32 + at) >> quarter * 2 & 0x03030303) << 4;
        UNROLL for (int i = 0; i < 8; ++i) w[i] = scale * number(q, i, 32);
    }
};

// `kvalues_iq4nl` of ggml-common.h by indices of four bits, each 128 more than it is.
DEVICE Eight steps(Eight q) {
    Eight looked_up;
    UNROLL for (int word = 0; word < 2; ++word) {
        const u32 indices = word ? q.high : q.low;
        // What is picked from the lower eight values and from the upper eight, then from the two.
        const u32 lower = indices & 0x07070707, packed = (lower | lower >> 4) & 0x00FF00FF, sel = (packed | packed >> 8) & 0xFFFF;
        const u32 first = pick(0x3F2D1801, 0x766A5D4F, sel), second = pick(0xA6998D81, 0xF1D9C5B5, sel);
        const u32 upper = (indices >> 3 & 0x01010101) * 0xFF;
        (word ? looked_up.high : looked_up.low) = (first & ~upper) | (second & upper);
    }
    return looked_up;
}

// `d: f16, qs: [u8; 16]`
struct IQ4_NL {
    static constexpr int ELEMENTS = 32, BYTES = 18;
    static DEVICE void decode(const u8 *block, int part, float *w) {
        const float d = half_at(block);
        const Eight q = steps(nibbles(eight2(block + 2 + part % 2 * 8), part));
        UNROLL for (int i = 0; i < 8; ++i) w[i] = d * number(q, i, 128);
    }
};

// `d: f16, scales_h: u16, scales_l: [u8; 4], qs: [u8; 128]`
struct IQ4_XS {
    static constexpr int ELEMENTS = 256, BYTES = 136;
    static DEVICE void decode(const u8 *block, int part, float *w) {
        const int j = part / 4;
        const int lower = block[4 + j / 2] >> j % 2 * 4 & 0xF, upper = load<u16>(block + 2) >> 2 * j & 3;
        const float scale = half_at(block) * (float) ((lower | upper << 4) - 32);
        const Eight q = steps(nibbles(eight8(block + 8 + j * 16 + part % 2 * 8), part % 4));
        UNROLL for (int i = 0; i < 8; ++i) w[i] = scale * number(q, i, 128);
    }
};

// The eight elements from `8 * part` on of the 32 that are number `chunk` of a tile.
template <class From> DEVICE void decode(const u8 *tile, int chunk, int part, float *w) {
    constexpr int CHUNKS = From::ELEMENTS / 32;
    From::decode(tile + chunk / CHUNKS * From::BYTES, chunk % CHUNKS * 4 + part, w);
}

// The same but for the signs of zeros.
template <class From> DEVICE void decode_but_zeros(const u8 *tile, int chunk, int part, float *w) { decode<From>(tile, chunk, part, w); }

// A byte is added to 128 as so many 256ths. All products with a half precision scale are exact, so that both steps are one.
template <> DEVICE void decode_but_zeros<Q8_0>(const u8 *tile, int chunk, int part, float *w) {
    const u8 *block = tile + chunk * Q8_0::BYTES;
    const float d = half_at(block) * 256.0f, middle = d * -128.5f;
    const Eight q = eight2(block + 2 + part * 8) ^ 0x80808080;
    UNROLL for (int i = 0; i < 8; ++i)
        w[i] = fused(d, as_float(pick(i < 4 ? q.low : q.high, 0x43000000, 0x7404 | (i & 3) << 4)), middle);
}

// Of a type by ggml's number.
DEVICE void decode(u32 type, const u8 *tile, int chunk, int part, float *w) {
    switch (type) {
        case 0: return decode<F32>(tile, chunk, part, w);
        case 1: return decode<F16>(tile, chunk, part, w);
        case 2: return decode<Q4_0>(tile, chunk, part, w);
        case 3: return decode<Q4_1>(tile, chunk, part, w);
        case 6: return decode<Q5_0>(tile, chunk, part, w);
        case 7: return decode<Q5_1>(tile, chunk, part, w);
        case 8: return decode<Q8_0>(tile, chunk, part, w);
        case 10: return decode<Q2_K>(tile, chunk, part, w);
        case 11: return decode<Q3_K>(tile, chunk, part, w);
        case 12: return decode<Q4_K>(tile, chunk, part, w);
        case 13: return decode<Q5_K>(tile, chunk, part, w);
        case 14: return decode<Q6_K>(tile, chunk, part, w);
        case 20: return decode<IQ4_NL>(tile, chunk, part, w);
        case 23: return decode<IQ4_XS>(tile, chunk, part, w);
        default: return decode<BF16>(tile, chunk, part, w);
    }
}
