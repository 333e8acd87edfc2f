// SPDX-License-Identifier: Apache-2.0

#include "wb_math.h"

#include "../../kernels/common.clh"
#include "../../kernels/math.clh"

#if defined(__x86_64__)
#define WB_MATH_X86 1
#endif

// Every function once: number in the enum, name.
#define UNARY(X) \
    X(WB_MATH_EXP, exp) \
    X(WB_MATH_EXPM1, expm1) \
    X(WB_MATH_LOG, log) \
    X(WB_MATH_LOG1P, log1p) \
    X(WB_MATH_SOFTPLUS, softplus) \
    X(WB_MATH_SIGMOID, sigmoid) \
    X(WB_MATH_TANH, tanh) \
    X(WB_MATH_ERF, erf) \
    X(WB_MATH_SQRT, sqrt) \
    X(WB_MATH_SQRT_INTEGER, sqrt_integer) \
    X(WB_MATH_CANONICAL, canonical) \
    X(WB_MATH_SIN, sin) \
    X(WB_MATH_COS, cos) \
    X(WB_MATH_TAN, tan) \
    X(WB_MATH_ASIN, asin) \
    X(WB_MATH_ACOS, acos) \
    X(WB_MATH_ATAN, atan) \
    X(WB_MATH_SINH, sinh) \
    X(WB_MATH_COSH, cosh) \
    X(WB_MATH_ASINH, asinh) \
    X(WB_MATH_ACOSH, acosh) \
    X(WB_MATH_ATANH, atanh) \
    X(WB_MATH_GELU, gelu) \
    X(WB_MATH_GELU_TANH, gelu_tanh) \
    X(WB_MATH_MISH, mish) \
    X(WB_MATH_ROUND, round) \
    X(WB_MATH_FLOOR, floor) \
    X(WB_MATH_CEIL, ceil) \
    X(WB_MATH_TRUNC, trunc) \
    X(WB_MATH_HALF, half) \
    X(WB_MATH_BFLOAT, bfloat)

#define BINARY(X) \
    X(WB_MATH_POW, pow) \
    X(WB_MATH_DIV, div) \
    X(WB_MATH_DIV_INTEGER, div_integer) \
    X(WB_MATH_MIN, min) \
    X(WB_MATH_MAX, max) \
    X(WB_MATH_FMOD, fmod)

#define HOST1(number, name) \
    float wb_host_##name(float x) { return wb_##name(x); }
UNARY(HOST1)

#define HOST2(number, name) \
    float wb_host_##name(float x, float y) { return wb_##name(x, y); }
BINARY(HOST2)

#define CASE1(number, name) \
    case number: \
        WB_INTERLEAVE for (size_t i = 0; i < n; i++) y[i] = wb_##name(x[i]); \
        break;

#define CASE2(number, name) \
    case number: \
        WB_INTERLEAVE for (size_t i = 0; i < n; i++) z[i] = wb_##name(x[i], y[i]); \
        break;

#define MAPS(target, attribute) \
    attribute static void map_##target(int function, const float *x, float *y, size_t n) { \
        switch (function) { UNARY(CASE1) } \
    } \
    attribute static void map2_##target(int function, const float *x, const float *y, float *z, size_t n) { \
        switch (function) { BINARY(CASE2) } \
    }

MAPS(baseline, )
#ifdef WB_MATH_X86
MAPS(avx2, __attribute__((target("avx2,fma"))))
MAPS(avx512, __attribute__((target("avx512f"))))
#endif

int wb_math_has_target(int target) {
    switch (target) {
    case WB_MATH_BASELINE: return 1;
#ifdef WB_MATH_X86
    case WB_MATH_AVX2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case WB_MATH_AVX512: return __builtin_cpu_supports("avx512f") != 0;
#endif
    default: return 0;
    }
}

static int best_target(void) {
    return wb_math_has_target(WB_MATH_AVX512) ? WB_MATH_AVX512
        : wb_math_has_target(WB_MATH_AVX2) ? WB_MATH_AVX2
        : WB_MATH_BASELINE;
}

void wb_math_map_target(int target, int function, const float *x, float *y, size_t n) {
    switch (target) {
#ifdef WB_MATH_X86
    case WB_MATH_AVX2: map_avx2(function, x, y, n); break;
    case WB_MATH_AVX512: map_avx512(function, x, y, n); break;
#endif
    default: map_baseline(function, x, y, n); break;
    }
}

void wb_math_map2_target(int target, int function, const float *x, const float *y, float *z, size_t n) {
    switch (target) {
#ifdef WB_MATH_X86
    case WB_MATH_AVX2: map2_avx2(function, x, y, z, n); break;
    case WB_MATH_AVX512: map2_avx512(function, x, y, z, n); break;
#endif
    default: map2_baseline(function, x, y, z, n); break;
    }
}

void wb_math_map(int function, const float *x, float *y, size_t n) {
    wb_math_map_target(best_target(), function, x, y, n);
}

void wb_math_map2(int function, const float *x, const float *y, float *z, size_t n) {
    wb_math_map2_target(best_target(), function, x, y, z, n);
}
