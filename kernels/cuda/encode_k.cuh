// Floats to super-blocks of 256 elements: what src/encode/k_quants.rs does, by the eight threads that have the super-block's chunks.
//
// Three phases with barriers between: every thread fits the scales of its chunk and shows them to the others; then it writes its quanta as
// bytes over its values; then all of them write the block, each a part of it.
#pragma once

#include "encode.cuh"

// What a thread shows of its chunk, in four numbers.
struct Fit {
    float numbers[4];
};

// The nearest whole number, ties to even, as ggml has it: what is too large comes out as anything, and NaN as zero.
DEVICE int nearest_int(float value) {
    const float sum = value + 12582912.0f;
    return sum == sum ? (int) (bits(sum) & 0x007FFFFF) - 0x00400000 : 0;
}

template <class To> struct SuperEncoder;

// Q4_K and Q5_K: 32 elements share a scale and an offset, found by trying `TRIALS + 1` widths (`make_qkx2_quants`).
template <class To, int BITS> struct OffsetEncoder {
    static constexpr float MOST = (1 << BITS) - 1;

    // Scale, least, inverse, and from where the inverse counts.
    static DEVICE Fit fit(const float *column) {
        const float first = BITS == 4 ? -1.0f : -0.5f;
        constexpr int TRIALS = BITS == 4 ? 20 : 15;
        float x[32];
        UNROLL for (int i = 0; i < 32; ++i) x[i] = column[i];
        float squares = 0, least = x[0], greatest = x[0];
        UNROLL for (int i = 0; i < 32; ++i) {
            squares = squares + x[i] * x[i];
            least = lesser(x[i], least);
            greatest = greater(x[i], greatest);
        }
        const float typical = sqrtf(squares / 32.0f);
        float sum_w = 0, sum_x = 0;
        UNROLL for (int i = 0; i < 32; ++i) {
            const float w = typical + fabsf(x[i]);
            sum_w = sum_w + w;
            sum_x = sum_x + w * x[i];
        }
        least = least > 0 ? 0 : least;
        if (greatest == least) return {{0, least, 0, 0}};
        float inverse = MOST / (greatest - least), from = least, scale = 1.0f / inverse, best = 0;
        UNROLL for (int i = 0; i < 32; ++i) {
            const float l = clamp(nearest(inverse * (x[i] - least)), 0, MOST), miss = scale * l + least - x[i];
            best = best + (typical + fabsf(x[i])) * (miss * miss);
        }
        ROLLED for (int trial = 0; trial <= TRIALS; ++trial) {
            const float this_inverse = (first + 0.1f * (float) trial + MOST) / (greatest - least);
            float l[32], sum_l = 0, sum_l2 = 0, sum_xl = 0;
            UNROLL for (int i = 0; i < 32; ++i) {
                l[i] = clamp(nearest(this_inverse * (x[i] - least)), 0, MOST);
                const float wl = (typical + fabsf(x[i])) * l[i];
                sum_l = sum_l + wl;
                sum_l2 = sum_l2 + wl * l[i];
                sum_xl = sum_xl + wl * x[i];
            }
            const float determinant = sum_w * sum_l2 - sum_l * sum_l;
            // Where there is no solution, nothing is better.
            if (!(determinant > 0)) continue;
            float this_scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
            float offset = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
            if (offset > 0) {
                this_scale = sum_xl / sum_l2;
                offset = 0;
            }
            float error = 0;
            UNROLL for (int i = 0; i < 32; ++i) {
                const float miss = this_scale * l[i] + offset - x[i];
                error = error + (typical + fabsf(x[i])) * (miss * miss);
            }
            if (best > error) {
                best = error;
                scale = this_scale;
                inverse = this_inverse;
                from = least;
                least = offset;
            }
        }
        return {{scale, least, inverse, from}};
    }

    // Half precision scale and quanta of 6 bits for eight numbers.
    static DEVICE u16 six_bits(const float *values, u8 *quanta) {
        float greatest = 0;
        UNROLL for (int i = 0; i < 8; ++i) greatest = greater(values[i], greatest);
        const float inverse = greatest > 0 ? 63.0f / greatest : 0;
        UNROLL for (int i = 0; i < 8; ++i) {
            const u8 quantum = (u8) nearest_int(inverse * values[i]);
            quanta[i] = quantum < 63 ? quantum : 63;
        }
        return to_half(greatest / 63.0f);
    }

    // Quanta over the values of chunk `j` of the block; the first thread writes the block's header.
    static DEVICE void quantize(const Fit *fits, int j, float *column, u8 *block) {
        float values[8];
        u8 scales[8], offsets[8];
        UNROLL for (int i = 0; i < 8; ++i) values[i] = fits[i].numbers[0];
        const u16 d = six_bits(values, scales);
        UNROLL for (int i = 0; i < 8; ++i) values[i] = 0.0f - fits[i].numbers[1];
        const u16 dmin = six_bits(values, offsets);
        if (j == 0) {
            store<u32>(block, d | (u32) dmin << 16);
            UNROLL for (int i = 0; i < 4; ++i) {
                block[4 + i] = (u8) (scales[i] | scales[i + 4] >> 4 << 6);
                block[8 + i] = (u8) (offsets[i] | offsets[i + 4] >> 4 << 6);
                block[12 + i] = (u8) ((scales[i + 4] & 0xF) | (offsets[i + 4] & 0xF) << 4);
            }
        }
        u8 six = 0, other = 0;
        UNROLL for (int i = 0; i < 8; ++i) {
            six = i == j ? scales[i] : six;
            other = i == j ? offsets[i] : other;
        }
        const float scale = from_half(d) * (float) six, offset = from_half(dmin) * (float) other;
        const float inverse = fits[j].numbers[2], from = fits[j].numbers[3];
        UNROLL for (int i = 0; i < 8; ++i) {
            u32 q[4];
            UNROLL for (int k = 0; k < 4; ++k) {
                const float x = column[4 * i + k];
                const float l = scale == 0 ? inverse * (x - from) : (x + offset) / scale;
                q[k] = (u32) to_int(clamp(nearest(l), 0, MOST));
            }
            store<u32>((u8 *) (column + i), four(q[0], q[1], q[2], q[3]));
        }
    }

    // Part `j` of the block, of the quanta of all its chunks.
    static DEVICE void pack(const float *columns, int stride, int j, u8 *block) {
        const u8 *low = (const u8 *) (columns + j / 2 * 2 * stride) + j % 2 * 16, *high = low + stride * sizeof(float);
        u8 *qs = block + To::BYTES - 128 + j * 16;
        UNROLL for (int i = 0; i < 4; ++i)
            store<u32>(qs + 4 * i, (load<u32>(low + 4 * i) & 0x0F0F0F0F) | (load<u32>(high + 4 * i) << 4 & 0xF0F0F0F0));
        if (BITS == 5) {
            u32 fifths = 0;
            UNROLL for (int group = 0; group < 8; ++group) fifths |= (load<u32>((const u8 *) (columns + group * stride + j)) >> 4 & 0x01010101) << group;
            store<u32>(block + 16 + 4 * j, fifths);
        }
    }
};

template <> struct SuperEncoder<Q4_K> : OffsetEncoder<Q4_K, 4> {};
template <> struct SuperEncoder<Q5_K> : OffsetEncoder<Q5_K, 5> {};

// Q6_K: 16 elements share a scale, found by trying 19 widths (`make_qx_quants`).
template <> struct SuperEncoder<Q6_K> {
    // Magnitudes below this count as zero (ggml's `GROUP_MAX_EPS`).
    static constexpr float NOTHING = 1e-15f;

    // The scale and the inverse of either half.
    static DEVICE Fit fit(const float *column) {
        Fit fit;
        fit_half(column, fit.numbers);
        fit_half(column + 16, fit.numbers + 2);
        return fit;
    }

    static DEVICE void fit_half(const float *column, float *to) {
        float x[16], magnitude = 0, greatest = 0;
        UNROLL for (int i = 0; i < 16; ++i) {
            x[i] = column[i];
            const bool more = fabsf(x[i]) > magnitude;
            magnitude = more ? fabsf(x[i]) : magnitude;
            greatest = more ? x[i] : greatest;
        }
        to[0] = to[1] = 0;
        if (!(magnitude >= NOTHING)) return;
        float scale = 0, best = 0, found = 0;
        // ggml begins with the middle one, which need not beat anything.
        ROLLED for (int number = -10; number <= 9; ++number) {
            if (number == 0) continue;
            const int trial = number == -10 ? 0 : number;
            const float inverse = -(32.0f + 0.1f * (float) trial) / greatest;
            float sum_lx = 0, sum_l2 = 0;
            UNROLL for (int i = 0; i < 16; ++i) {
                const float l = clamp(nearest(inverse * x[i]), -32, 31), w = x[i] * x[i];
                sum_lx = sum_lx + w * x[i] * l;
                sum_l2 = sum_l2 + w * l * l;
            }
            const bool solved = sum_l2 > 0;
            if (trial == 0) {
                scale = solved ? sum_lx / sum_l2 : 0;
                best = scale * sum_lx;
                found = inverse;
            } else if ((solved ? sum_lx * sum_lx : 0) > (solved ? best * sum_l2 : 0)) {
                scale = sum_lx / sum_l2;
                best = scale * sum_lx;
                found = inverse;
            }
        }
        to[0] = scale;
        to[1] = found;
    }

    static DEVICE void quantize(const Fit *fits, int j, float *column, u8 *block) {
        float greatest = 0;
        UNROLL for (int i = 0; i < 16; ++i) {
            const float scale = fits[i / 2].numbers[i % 2 * 2];
            greatest = fabsf(scale) > fabsf(greatest) ? scale : greatest;
        }
        const bool empty = fabsf(greatest) < NOTHING;
        const float to_steps = -128.0f / greatest;
        const u16 d = empty ? 0 : to_half(1.0f / to_steps);
        if (j == 0) store<u16>(block + 208, d);
        UNROLL for (int half = 0; half < 2; ++half) {
            const float scale = fits[j].numbers[2 * half], inverse = fits[j].numbers[2 * half + 1];
            const int nearest_step = nearest_int(to_steps * scale);
            const int8_t step = empty ? 0 : (int8_t) (nearest_step < 127 ? nearest_step : 127);
            block[192 + 2 * j + half] = (u8) step;
            const float written = from_half(d) * (float) step;
            // Of a group of nothing ggml leaves the quanta zero.
            const bool dead = empty || (written == 0 && inverse == 0);
            UNROLL for (int i = 0; i < 4; ++i) {
                u32 q[4];
                UNROLL for (int k = 0; k < 4; ++k) {
                    const float x = column[16 * half + 4 * i + k], l = written == 0 ? inverse * x : x / written;
                    q[k] = dead ? 0 : (u32) to_int(clamp(nearest(l), -32, 31) + 32.0f);
                }
                store<u32>((u8 *) (column + 4 * half + i), four(q[0], q[1], q[2], q[3]));
            }
        }
    }

    static DEVICE void pack(const float *columns, int stride, int j, u8 *block) {
        const int half = j / 4, at = j % 4 * 8;
        Eight q[4];
        UNROLL for (int quarter = 0; quarter < 4; ++quarter) q[quarter] = eight4((const u8 *) (columns + (half * 4 + quarter) * stride) + at);
        put(block + half * 64 + at, q[0] & 0x0F0F0F0F | (q[2] & 0x0F0F0F0F) << 4);
        put(block + half * 64 + 32 + at, q[1] & 0x0F0F0F0F | (q[3] & 0x0F0F0F0F) << 4);
        const Eight lower = (q[0] >> 4 & 0x03030303) | (q[1] >> 4 & 0x03030303) << 2;
        put(block + 128 + half * 32 + at, lower | (q[2] >> 4 & 0x03030303) << 4 | (q[3] >> 4 & 0x03030303) << 6);
    }

    // To an address that is a multiple of two.
    static DEVICE void put(u8 *to, Eight bytes) {
        store<u16>(to, (u16) bytes.low);
        store<u16>(to + 2, (u16) (bytes.low >> 16));
        store<u16>(to + 4, (u16) bytes.high);
        store<u16>(to + 6, (u16) (bytes.high >> 16));
    }
};
