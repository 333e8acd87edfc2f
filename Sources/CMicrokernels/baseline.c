// The loops for whatever processor the program was compiled for. On x86-64 without FMA every fma is a call into the C
// library: slow, and still the same bits.
#include <math.h>

#include "CMicrokernels.h"

#define WB_SET "baseline"
#define WB_FUNCTIONS functions_baseline
#define WB_VW 4
#define WB_NV 4
#define WB_MR 4
#include "microkernels.inc"
