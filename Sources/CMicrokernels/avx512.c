// The loops for x86-64 with AVX-512.
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>

#include "CMicrokernels.h"

#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma"))), apply_to = function)
#define WB_SET "AVX-512"
#define WB_FUNCTIONS functions_avx512
#define WB_VW 16
#define WB_NV 2
#define WB_MR 8
#define WB_PERMUTE(x, index) _mm512_permutexvar_ps((__m512i)(index), (__m512)(x))
#define WB_DOT2(x, w) ((wb_ints)_mm512_madd_epi16((__m512i)(x), (__m512i)(w)))
#define WB_EVEN(w) ((wb_ints)_mm512_srai_epi16(_mm512_slli_epi16((__m512i)(w), 8), 8))
#define WB_ODD(w) ((wb_ints)_mm512_srai_epi16((__m512i)(w), 8))
#include "microkernels.inc"
#pragma clang attribute pop
#endif
