// What the kernels are written in: a GPU's threads, or loops over them.
//
// A kernel is a sequence of phases. On a GPU, `THREADS(t)` is what thread `t` of a block does and `BARRIER` makes all wait for all; as host
// C++, `THREADS(t)` is a loop over a block's threads, and where one loop ends and the next begins is a barrier already. What threads tell
// each other goes through shared memory, so that both give the same bytes and a machine without a GPU can prove a kernel right.
#pragma once

#include <stdint.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

// The block that runs.
struct Block {
    u64 index;
    int threads;
    u8 *shared;
};

#ifdef __CUDACC__

#define DEVICE __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#define ROLLED _Pragma("unroll 1")
// Four at a time, so that as many loads are under way together.
#define UNROLL_FOUR _Pragma("unroll 4")
// One for all kernels that call it.
#define SHARED_CODE __device__ __noinline__
#define THREADS(t) if (const int t = (int) threadIdx.x; true)
#define BARRIER __syncthreads()

template <class T> DEVICE T load(const u8 *from) { return *(const T *) from; }
template <class T> DEVICE void store(u8 *to, T value) { *(T *) to = value; }

DEVICE u32 bits(float value) { return __float_as_uint(value); }
DEVICE float as_float(u32 bits) { return __uint_as_float(bits); }
DEVICE u32 pick(u32 low, u32 high, u32 bytes) { return __byte_perm(low, high, bytes); }
// Towards zero; what is too large becomes the nearest there is, and NaN zero.
DEVICE int to_int(float value) { return __float2int_rz(value); }
// Four numbers as bytes, those beyond -128 and 127 as these.
DEVICE u32 four_small(int a, int b, int c, int d) {
    u32 bytes;
    asm("{ .reg .u32 upper; cvt.pack.sat.s8.s32.b32 upper, %4, %3, 0; cvt.pack.sat.s8.s32.b32 %0, %2, %1, upper; }"
        : "=r"(bytes)
        : "r"(a), "r"(b), "r"(c), "r"(d));
    return bytes;
}
DEVICE u32 shift_right(u32 low, u32 high, u32 by) { return __funnelshift_r(low, high, by); }
DEVICE u32 mul_high(u32 a, u32 b) { return __umulhi(a, b); }
DEVICE float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }
// Between the two; the least for NaN. Which zero a zero becomes is left open.
DEVICE float clamp(float value, float least, float greatest) { return fminf(fmaxf(value, least), greatest); }

DEVICE float from_half(u16 half) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half));
    return value;
}

DEVICE u16 to_half(float value) {
    u16 half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(value));
    return half;
}

// The greater magnitude, NaN if either is.
DEVICE float greater_magnitude(float a, float b) {
#if __CUDA_ARCH__ >= 800
    float value;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(value) : "f"(fabsf(a)), "f"(fabsf(b)));
    return value;
#else
    return as_float(max(bits(a) & 0x7FFFFFFF, bits(b) & 0x7FFFFFFF));
#endif
}

// 16 bytes of global memory into shared memory, there after `copied`.
DEVICE void copy16(u8 *shared, const u8 *global) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((u32) __cvta_generic_to_shared(shared)), "l"(global) : "memory");
#else
    *(uint4 *) shared = *(const uint4 *) global;
#endif
}

DEVICE void copied() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

DEVICE void write16(u8 *global, const u8 *shared) { *(uint4 *) global = *(const uint4 *) shared; }

#else

#include <assert.h>
#include <math.h>

#define DEVICE inline
#define UNROLL
#define ROLLED
#define UNROLL_FOUR
#define SHARED_CODE inline
// From the first thread to the last in every other block, and back in the others: the order is nothing to rely on.
#define THREADS(t)                                                                                                    \
    for (int t, turn = 0; t = block.index % 2 ? block.threads - 1 - turn : turn, turn < block.threads; ++turn)
#define BARRIER

template <class T> DEVICE T load(const u8 *from) {
    T value;
    assert((uintptr_t) from % alignof(T) == 0);
    memcpy(&value, from, sizeof value);
    return value;
}
template <class T> DEVICE void store(u8 *to, T value) {
    assert((uintptr_t) to % alignof(T) == 0);
    memcpy(to, &value, sizeof value);
}

// All NaN are one, as on a GPU.
DEVICE u32 bits(float value) {
    u32 bits;
    memcpy(&bits, &value, sizeof bits);
    return value == value ? bits : 0x7FFFFFFF;
}
DEVICE float as_float(u32 bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
DEVICE u32 pick(u32 low, u32 high, u32 bytes) {
    u64 both = (u64) high << 32 | low;
    u32 picked = 0;
    for (int at = 0; at < 4; ++at) picked |= (u32) (both >> (bytes >> 4 * at & 7) * 8 & 0xFF) << 8 * at;
    return picked;
}
DEVICE int to_int(float value) {
    if (value != value) return 0;
    return value >= 2147483648.0f ? 0x7FFFFFFF : value < -2147483648.0f ? (int) 0x80000000 : (int) value;
}
DEVICE u32 small(int number) { return (number < -128 ? -128 : number > 127 ? 127 : number) & 0xFF; }
DEVICE u32 four_small(int a, int b, int c, int d) { return small(a) | small(b) << 8 | small(c) << 16 | small(d) << 24; }
DEVICE u32 shift_right(u32 low, u32 high, u32 by) { return (u32) (((u64) high << 32 | low) >> (by & 31)); }
DEVICE u32 mul_high(u32 a, u32 b) { return (u32) ((u64) a * b >> 32); }
DEVICE float fused(float a, float b, float c) { return fmaf(a, b, c); }
DEVICE float clamp(float value, float least, float greatest) {
    const float low = value > least ? value : least;
    return low < greatest ? low : greatest;
}

DEVICE float from_half(u16 half) {
    u32 magnitude = (u32) (half & 0x7FFF) << 16;
    float normal = as_float((magnitude >> 3) + (0xE0u << 23)) * as_float((127 - 112) << 23);
    float subnormal = as_float(magnitude >> 16 | 126 << 23) - 0.5f;
    return as_float((u32) (half & 0x8000) << 16 | bits(magnitude < 1u << 26 ? subnormal : normal));
}

DEVICE u16 to_half(float value) {
    u32 magnitude = bits(value) & 0x7FFFFFFF;
    u32 sign = bits(value) >> 16 & 0x8000;
    if (magnitude > 0x7F800000) return (u16) (sign | 0x7FFF);
    // The sum with a power of two that is 2^12 units of the result's last place makes the adder round.
    u32 exponent = magnitude & 0x7F800000;
    if (exponent < 0x38800000) exponent = 0x38800000;
    float rounded = as_float(exponent + 0x07800000) + as_float(magnitude) * as_float((127u + 112) << 23) * as_float((127 - 110) << 23);
    return (u16) (sign | ((bits(rounded) >> 13 & 0x7C00) + (bits(rounded) & 0x0FFF)));
}

DEVICE float greater_magnitude(float a, float b) {
    u32 x = bits(a) & 0x7FFFFFFF, y = bits(b) & 0x7FFFFFFF;
    return as_float(x > y ? x : y);
}

struct alignas(16) Sixteen {
    u8 bytes[16];
};

DEVICE void copy16(u8 *shared, const u8 *global) { store(shared, load<Sixteen>(global)); }
DEVICE void copied() {}
DEVICE void write16(u8 *global, const u8 *shared) { store(global, load<Sixteen>(shared)); }

#endif
