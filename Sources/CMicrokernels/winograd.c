// The weights of Winograd's convolution: U = G g G' of kernels/winograd.clh, in double precision and rounded once.
#include "CMicrokernels.h"

#include "../../kernels/winograd.clh"

#pragma clang fp contract(off)

// What multiplies a line of three weights, for each of the points.
static const double G2[4][3] = {
    {1, 0, 0},
    {0.5, 0.5, 0.5},
    {0.5, -0.5, 0.5},
    {0, 0, 1},
};
static const double G4[6][3] = {
    {64.0 / 81, 0, 0},
    {-128.0 / 243, -32.0 / 81, -8.0 / 27},
    {-128.0 / 243, 32.0 / 81, -8.0 / 27},
    {32.0 / 243, 16.0 / 81, 8.0 / 27},
    {32.0 / 243, -16.0 / 81, 8.0 / 27},
    {0, 0, 1},
};

void wb_winograd_weights(
    int tile, const wb_packing *p, const void *from, const double *scale, float *packed, int panels, int panel)
{
    const double(*G)[3] = tile == 2 ? G2 : G4;
    const int line = WB_WINOGRAD_LINE(tile);
    const int64_t next = (int64_t)panels * p->channels * WB_PANEL; // from a position to the next
    for (int c = 0; c < p->channels; c++) {
        double g[9][WB_PANEL] = {{0}}, lines[WB_WINOGRAD_LINE(4)][3][WB_PANEL];
        for (int o = 0; o < p->columns; o++)
            for (int tap = 0; tap < 9; tap++) g[tap][o] = wb_packed_weight(p, from, scale, o, c, tap);
        for (int i = 0; i < line; i++)
            for (int x = 0; x < 3; x++)
                for (int o = 0; o < WB_PANEL; o++)
                    lines[i][x][o] = (G[i][0] * g[x][o] + G[i][1] * g[3 + x][o]) + G[i][2] * g[6 + x][o];
        float *to = packed + ((int64_t)panel * p->channels + c) * WB_PANEL;
        for (int i = 0; i < line; i++)
            for (int j = 0; j < line; j++)
                for (int o = 0; o < WB_PANEL; o++)
                    to[(i * line + j) * next + o] =
                        (float)((lines[i][0][o] * G[j][0] + lines[i][1][o] * G[j][1]) + lines[i][2][o] * G[j][2]);
    }
}
