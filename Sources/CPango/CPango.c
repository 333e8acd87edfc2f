#include "CPango.h"

#include <CSystem.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

// What is called of the three libraries, as their documentation declares it. (Their headers would have to be found by pkg-config, which would link the
// libraries as well; these declarations have not changed since 2005.)
typedef struct cairo_surface cairo_surface;
typedef struct cairo cairo;
typedef struct cairo_font_options cairo_font_options;
typedef struct pango_layout pango_layout;
typedef struct pango_context pango_context;
typedef struct pango_font_description pango_font_description;

enum {
    CAIRO_FORMAT_A8 = 2,
    CAIRO_STATUS_SUCCESS = 0,
    CAIRO_ANTIALIAS_GRAY = 2,
    CAIRO_HINT_STYLE_NONE = 1,
    CAIRO_HINT_METRICS_OFF = 1,
    PANGO_SCALE = 1024,
    PANGO_WEIGHT_NORMAL = 400,
    PANGO_WEIGHT_BOLD = 700,
};

#define CAIRO(F)                                                                                                       \
    F(cairo_surface *, cairo_image_surface_create, (int format, int width, int height))                                \
    F(int, cairo_surface_status, (cairo_surface *))                                                                    \
    F(void, cairo_surface_flush, (cairo_surface *))                                                                    \
    F(unsigned char *, cairo_image_surface_get_data, (cairo_surface *))                                                \
    F(int, cairo_image_surface_get_stride, (cairo_surface *))                                                          \
    F(void, cairo_surface_destroy, (cairo_surface *))                                                                  \
    F(cairo *, cairo_create, (cairo_surface *))                                                                        \
    F(void, cairo_destroy, (cairo *))                                                                                  \
    F(int, cairo_status, (cairo *))                                                                                    \
    F(void, cairo_move_to, (cairo *, double x, double y))                                                              \
    F(cairo_font_options *, cairo_font_options_create, (void))                                                         \
    F(void, cairo_font_options_destroy, (cairo_font_options *))                                                        \
    F(void, cairo_font_options_set_antialias, (cairo_font_options *, int))                                             \
    F(void, cairo_font_options_set_hint_style, (cairo_font_options *, int))                                            \
    F(void, cairo_font_options_set_hint_metrics, (cairo_font_options *, int))
#define PANGO(F)                                                                                                       \
    F(void, pango_layout_set_text, (pango_layout *, const char *, int))                                                \
    F(void, pango_layout_set_font_description, (pango_layout *, const pango_font_description *))                       \
    F(void, pango_layout_set_single_paragraph_mode, (pango_layout *, int))                                             \
    F(void, pango_layout_get_size, (pango_layout *, int *width, int *height))                                          \
    F(int, pango_layout_get_baseline, (pango_layout *))                                                                \
    F(pango_context *, pango_layout_get_context, (pango_layout *))                                                     \
    F(void, pango_layout_context_changed, (pango_layout *))                                                            \
    F(pango_font_description *, pango_font_description_new, (void))                                                    \
    F(void, pango_font_description_free, (pango_font_description *))                                                   \
    F(void, pango_font_description_set_family, (pango_font_description *, const char *))                               \
    F(void, pango_font_description_set_weight, (pango_font_description *, int))                                        \
    F(void, pango_font_description_set_absolute_size, (pango_font_description *, double))
#define PANGO_CAIRO(F)                                                                                                 \
    F(pango_layout *, pango_cairo_create_layout, (cairo *))                                                            \
    F(void, pango_cairo_context_set_font_options, (pango_context *, const cairo_font_options *))                       \
    F(void, pango_cairo_show_layout, (cairo *, pango_layout *))
#define GOBJECT(F) F(void, g_object_unref, (void *))

#define POINTER(result, name, arguments) static result(*p_##name) arguments;
CAIRO(POINTER)
PANGO(POINTER)
PANGO_CAIRO(POINTER)
GOBJECT(POINTER)
#undef POINTER

#define FUNCTION(result, name, arguments) {#name, (void **)&p_##name},
static const wb_function cairo_functions[] = {CAIRO(FUNCTION)};
static const wb_function pango_functions[] = {PANGO(FUNCTION)};
static const wb_function pango_cairo_functions[] = {PANGO_CAIRO(FUNCTION)};
static const wb_function gobject_functions[] = {GOBJECT(FUNCTION)};
#undef FUNCTION

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool is_open;
static char reason[512];

#define OPEN(library, functions)                                                                                       \
    wb_open_library(library, functions, sizeof functions / sizeof *functions, reason, sizeof reason)

static void open_libraries(void) {
    is_open = OPEN("libcairo.so.2", cairo_functions) && OPEN("libpango-1.0.so.0", pango_functions)
              && OPEN("libpangocairo-1.0.so.0", pango_cairo_functions) && OPEN("libgobject-2.0.so.0", gobject_functions);
}

bool wb_text_available(const char **why) {
    pthread_once(&once, open_libraries);
    if (why) *why = is_open ? NULL : reason;
    return is_open;
}

// A line of text on a surface. Pango keeps a list of fonts for each thread.
typedef struct {
    cairo_surface *surface;
    cairo *context;
    pango_layout *layout;
} line;

static void close_line(line *line) {
    if (line->layout) p_g_object_unref(line->layout);
    if (line->context) p_cairo_destroy(line->context);
    if (line->surface) p_cairo_surface_destroy(line->surface);
}

static bool open_line(line *line, int width, int height, const char *text, size_t count, double size, bool is_bold) {
    memset(line, 0, sizeof *line);
    if (!wb_text_available(NULL) || count > INT_MAX) return false;
    line->surface = p_cairo_image_surface_create(CAIRO_FORMAT_A8, width, height);
    if (p_cairo_surface_status(line->surface) != CAIRO_STATUS_SUCCESS) return false;
    line->context = p_cairo_create(line->surface);
    if (p_cairo_status(line->context) != CAIRO_STATUS_SUCCESS) return false;
    line->layout = p_pango_cairo_create_layout(line->context);
    if (!line->layout) return false;
    // What a letter looks like depends on its font alone, and not on the settings of a screen.
    cairo_font_options *options = p_cairo_font_options_create();
    p_cairo_font_options_set_antialias(options, CAIRO_ANTIALIAS_GRAY);
    p_cairo_font_options_set_hint_style(options, CAIRO_HINT_STYLE_NONE);
    p_cairo_font_options_set_hint_metrics(options, CAIRO_HINT_METRICS_OFF);
    p_pango_cairo_context_set_font_options(p_pango_layout_get_context(line->layout), options);
    p_cairo_font_options_destroy(options);
    p_pango_layout_context_changed(line->layout);
    pango_font_description *font = p_pango_font_description_new();
    p_pango_font_description_set_family(font, "Sans");
    p_pango_font_description_set_weight(font, is_bold ? PANGO_WEIGHT_BOLD : PANGO_WEIGHT_NORMAL);
    p_pango_font_description_set_absolute_size(font, size * PANGO_SCALE);
    p_pango_layout_set_font_description(line->layout, font);
    p_pango_font_description_free(font);
    p_pango_layout_set_single_paragraph_mode(line->layout, 1);
    p_pango_layout_set_text(line->layout, text, (int)count);
    return true;
}

double wb_text_width(const char *text, size_t count, double size, bool is_bold) {
    line line;
    int width = -PANGO_SCALE, height = 0;
    if (open_line(&line, 1, 1, text, count, size, is_bold)) p_pango_layout_get_size(line.layout, &width, &height);
    close_line(&line);
    return (double)width / PANGO_SCALE;
}

bool wb_text_draw(const char *text, size_t count, double size, bool is_bold, uint8_t *mask, int width, int height, double x,
                  double baseline) {
    line line;
    bool is_drawn = width > 0 && height > 0 && open_line(&line, width, height, text, count, size, is_bold);
    if (is_drawn) {
        p_cairo_move_to(line.context, x, baseline - (double)p_pango_layout_get_baseline(line.layout) / PANGO_SCALE);
        p_pango_cairo_show_layout(line.context, line.layout);
        p_cairo_surface_flush(line.surface);
        const unsigned char *data = p_cairo_image_surface_get_data(line.surface);
        int stride = p_cairo_image_surface_get_stride(line.surface);
        for (int y = 0; y < height; y++) memcpy(mask + (size_t)y * (size_t)width, data + (size_t)y * (size_t)stride, (size_t)width);
    }
    if (width > 0 && height > 0) close_line(&line);
    return is_drawn;
}
