// The weights of Winograd's convolution: U = G g G' of kernels/winograd.clh, in double precision and rounded once.
#include "CMicrokernels.h"

#pragma clang fp contract(off)

// What multiplies a line of three weights, for each of the points.
static const double G[6][3] = {
    {64.0 / 81, 0, 0},
    {-128.0 / 243, -32.0 / 81, -8.0 / 27},
    {-128.0 / 243, 32.0 / 81, -8.0 / 27},
    {32.0 / 243, 16.0 / 81, 8.0 / 27},
    {32.0 / 243, -16.0 / 81, 8.0 / 27},
    {0, 0, 1},
};

void wb_winograd_weights(
    const float *weights, int64_t by_output, int64_t by_channel, int64_t by_tap, int channels, int outputs,
    float *packed, int panel)
{
    const int panels = (outputs + WB_PANEL - 1) / WB_PANEL, first = panel * WB_PANEL;
    const int columns = outputs - first < WB_PANEL ? outputs - first : WB_PANEL;
    const int64_t next = (int64_t)panels * channels * WB_PANEL; // from a position to the next
    for (int c = 0; c < channels; c++) {
        double g[9][WB_PANEL] = {{0}}, lines[6][3][WB_PANEL];
        for (int o = 0; o < columns; o++) {
            const float *from = weights + (first + o) * by_output + c * by_channel;
            for (int tap = 0; tap < 9; tap++) g[tap][o] = from[tap * by_tap];
        }
        for (int i = 0; i < 6; i++)
            for (int x = 0; x < 3; x++)
                for (int o = 0; o < WB_PANEL; o++)
                    lines[i][x][o] = (G[i][0] * g[x][o] + G[i][1] * g[3 + x][o]) + G[i][2] * g[6 + x][o];
        float *to = packed + ((int64_t)panel * channels + c) * WB_PANEL;
        for (int i = 0; i < 6; i++)
            for (int j = 0; j < 6; j++)
                for (int o = 0; o < WB_PANEL; o++)
                    to[(i * 6 + j) * next + o] =
                        (float)((lines[i][0][o] * G[j][0] + lines[i][1][o] * G[j][1]) + lines[i][2][o] * G[j][2]);
    }
}
