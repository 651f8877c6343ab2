// Random masks: the Philox4x32-7 draws of src/philox.rs, which says where an element's bits are, as one bit each.
#pragma once

#include "job.cuh"

// Which elements of two a draw keeps, of each quarter of a group: those whose 16 bits are below `threshold`. Bit `2 * quarter + which`.
DEVICE u32 kept_by_block(const JobSource &source, u64 number) {
    u32 a = (u32) number, b = (u32) (number >> 32), c = source.stream[0], d = source.stream[1];
    u32 key0 = source.seed[0], key1 = source.seed[1];
    UNROLL for (int round = 0; round < 7; ++round) {
        const u32 high0 = mul_high(0xD2511F53, a), low0 = 0xD2511F53 * a, high1 = mul_high(0xCD9E8D57, c), low1 = 0xCD9E8D57 * c;
        a = high1 ^ b ^ key0;
        b = low1;
        c = high0 ^ d ^ key1;
        d = low0;
        key0 += 0x9E3779B9;
        key1 += 0xBB67AE85;
    }
    const u32 below = source.threshold, words[4] = {a, b, c, d};
    u32 kept = 0;
    UNROLL for (int word = 0; word < 4; ++word) {
        const int quarter = word / 2 * 2, which = word % 2;
        kept |= (u32) ((words[word] & 0xFFFF) < below) << (2 * quarter + which);
        kept |= (u32) (words[word] >> 16 < below) << (2 * quarter + 2 + which);
    }
    return kept;
}

// Four of the blocks of a tile that begins at element `first`, by thread: as many bytes of a mask.
DEVICE void draw(const JobSource &source, u64 first, int t, u8 *mask) {
    u32 kept = 0;
    UNROLL for (int at = 0; at < 4; ++at) kept |= kept_by_block(source, first / 8 + 4 * t + at) << 8 * at;
    store<u32>(mask + 4 * t, kept);
}

// What the mask of a tile says of the eight elements from `8 * part` on of chunk `chunk`: of element `i`, in bit `i / 2 * 8 + i % 2`.
DEVICE u32 drawn(const u8 *mask, int chunk, int part) {
    const int quarter = chunk % 2 * 2 + part / 2;
    return load<u32>(mask + (chunk / 2 * 2 + part % 2) * 4) >> 2 * quarter;
}
