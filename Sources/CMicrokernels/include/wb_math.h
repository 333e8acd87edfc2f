// SPDX-License-Identifier: Apache-2.0
//
// The functions of kernels/math.clh for the host. Every form and every target gives the same bits.

#ifndef WB_MATH_H
#define WB_MATH_H

#include <stddef.h>

// Of one argument.
enum wb_math_function {
    WB_MATH_EXP,
    WB_MATH_EXPM1,
    WB_MATH_LOG,
    WB_MATH_LOG1P,
    WB_MATH_SOFTPLUS,
    WB_MATH_SIGMOID,
    WB_MATH_TANH,
    WB_MATH_ERF,
    WB_MATH_SQRT,
    WB_MATH_SQRT_INTEGER,  // what a device without a correctly rounded square root runs
    WB_MATH_CANONICAL,
    WB_MATH_SIN,
    WB_MATH_COS,
    WB_MATH_TAN,
    WB_MATH_ASIN,
    WB_MATH_ACOS,
    WB_MATH_ATAN,
    WB_MATH_SINH,
    WB_MATH_COSH,
    WB_MATH_ASINH,
    WB_MATH_ACOSH,
    WB_MATH_ATANH,
    WB_MATH_GELU,
    WB_MATH_GELU_TANH,
    WB_MATH_MISH,
    WB_MATH_ROUND,
    WB_MATH_FLOOR,
    WB_MATH_CEIL,
    WB_MATH_TRUNC,
    WB_MATH_HALF,
    WB_MATH_BFLOAT,
    WB_MATH_FUNCTIONS      // how many
};

// Of two arguments.
enum wb_math_function2 {
    WB_MATH_POW,
    WB_MATH_DIV,
    WB_MATH_DIV_INTEGER,   // what a device without a correctly rounded division runs
    WB_MATH_MIN,
    WB_MATH_MAX,
    WB_MATH_FMOD,
    WB_MATH_FUNCTIONS2     // how many
};

// What a loop is compiled for.
enum wb_math_target {
    WB_MATH_BASELINE,
    WB_MATH_AVX2,
    WB_MATH_AVX512,
    WB_MATH_TARGETS        // how many
};

float wb_host_exp(float x);
float wb_host_expm1(float x);
float wb_host_log(float x);
float wb_host_log1p(float x);
float wb_host_softplus(float x);
float wb_host_sigmoid(float x);
float wb_host_tanh(float x);
float wb_host_erf(float x);
float wb_host_sqrt(float x);
float wb_host_sqrt_integer(float x);
float wb_host_canonical(float x);
float wb_host_sin(float x);
float wb_host_cos(float x);
float wb_host_tan(float x);
float wb_host_asin(float x);
float wb_host_acos(float x);
float wb_host_atan(float x);
float wb_host_sinh(float x);
float wb_host_cosh(float x);
float wb_host_asinh(float x);
float wb_host_acosh(float x);
float wb_host_atanh(float x);
float wb_host_gelu(float x);
float wb_host_gelu_tanh(float x);
float wb_host_mish(float x);
float wb_host_round(float x);
float wb_host_floor(float x);
float wb_host_ceil(float x);
float wb_host_trunc(float x);
float wb_host_half(float x);
float wb_host_bfloat(float x);
float wb_host_pow(float x, float y);
float wb_host_div(float x, float y);
float wb_host_div_integer(float x, float y);
float wb_host_min(float x, float y);
float wb_host_max(float x, float y);
float wb_host_fmod(float x, float y);

// Whether this processor runs the target (an enum wb_math_target).
int wb_math_has_target(int target);

// y[i] = function(x[i]), on the best target. `function` is an enum wb_math_function; y may be x.
void wb_math_map(int function, const float *x, float *y, size_t n);

// z[i] = function(x[i], y[i]), on the best target. `function` is an enum wb_math_function2; z may be x or y.
void wb_math_map2(int function, const float *x, const float *y, float *z, size_t n);

// The same on a stated target, which this processor must run.
void wb_math_map_target(int target, int function, const float *x, float *y, size_t n);
void wb_math_map2_target(int target, int function, const float *x, const float *y, float *z, size_t n);

#endif
