// Sets text of any script in a font that has its letters, by Pango and Cairo, which are opened with the first text that needs them.
#ifndef WHITEBOX_CPANGO_H
#define WHITEBOX_CPANGO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Whether the libraries are there. If not, `why` says why.
bool wb_text_available(const char **why);

// How wide a text comes out, in pixels.
// `text`: UTF-8, `count` bytes; `size`: of the letters, in pixels. Returns a negative number if there is no memory.
double wb_text_width(const char *text, size_t count, double size, bool is_bold);

// Draws a text into a mask of `width` × `height` bytes that is all 0, row by row: 255 where a pixel is covered.
// `x`, `baseline`: where the text begins, in pixels. Returns whether it is drawn.
bool wb_text_draw(const char *text, size_t count, double size, bool is_bold, uint8_t *mask, int width, int height, double x,
                  double baseline);

#endif
