// The kernels by name, each for one kind of program and one destination type; `merge_any` for all programs over sources that may have
// something on top. A launch's `Job` is the one parameter, by value.
//
// `build.sh` compiles them for GPUs. No flag may let the compiler round in another way (-use_fast_math, -fmad=true, -ftz=true): results are
// those of `run`, bit for bit.
//
// As host C++, for tests:
//   c++ -x c++ -O2 -std=c++17 -ffp-contract=off -shared -fPIC -o merge.so merge.cu
#include "merge.cuh"

#ifdef __CUDACC__
extern __shared__ uint4 shared[];

#define KERNEL(name, blocks, ...)                                                                                     \
    extern "C" __global__ void __launch_bounds__(128, blocks) name(const __grid_constant__ Job job) {                         \
        __VA_ARGS__(job, Block{blockIdx.x, (int) blockDim.x, (u8 *) shared});                                         \
    }
#else
// One block of the grid.
#define KERNEL(name, blocks, ...)                                                                                     \
    extern "C" void name(const Job *job, u64 index, u32 threads, u8 *shared) {                                        \
        __VA_ARGS__(*job, Block{index, (int) threads, shared});                                                       \
    }

// What Rust's must be.
extern "C" u64 job_bytes() { return sizeof(Job); }
#endif

// So many blocks at once on a multiprocessor as their registers do without memory for.
#define KERNELS(type, To)                                                                                             \
    KERNEL(merge_sum_##type, To::ELEMENTS == 32 ? 5 : 4, merge<Sum<Plain>, To>)                                           \
    KERNEL(merge_task_vectors_##type, To::ELEMENTS == 32 ? 5 : 4, merge<TaskVectors<Plain>, To>)                            \
    KERNEL(merge_any_##type, 4, merge<Any, To>)

KERNELS(f32, F32)
KERNELS(f16, F16)
KERNELS(bf16, BF16)
KERNELS(q4_0, Q4_0)
KERNELS(q4_1, Q4_1)
KERNELS(q5_0, Q5_0)
KERNELS(q5_1, Q5_1)
KERNELS(q8_0, Q8_0)
KERNELS(q4_k, Q4_K)
KERNELS(q5_k, Q5_K)
KERNELS(q6_k, Q6_K)

KERNEL(merge_two_q8_0_q8_0, 8, merge_two<Q8_0, Q8_0>)
KERNEL(merge_two_q4_1_q8_0, 8, merge_two<Q4_1, Q4_1>)
KERNEL(merge_two_q4_k_q8_0, 8, merge_two<Q4_K, Q4_K>)
KERNEL(merge_two_f16_q8_0, 8, merge_two<F16, F16>)
KERNEL(merge_two_f16_f16, 8, merge_halves<F16>)
KERNEL(merge_two_bf16_bf16, 8, merge_halves<BF16>)
