// Explains one picture with Grad-CAM from C, and prints what was found.
//
//     make libwhitebox
//     cc Examples/c/explain.c -ISources/CWhitebox/include -L.build/static/release -lwhitebox -Wl,-rpath,$PWD/.build/static/release -o explain
//     ./explain models/squeezenet1.1.onnx demo/photos/coffee.png

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <whitebox.h>

static void fail(whitebox_error *error) {
    fprintf(stderr, "explain: %s\n", whitebox_error_text(error));
    int code = whitebox_error_code(error);
    whitebox_error_free(error);
    exit(code);
}

// A map in ten shades, from its smallest number to its largest.
static void draw(const whitebox_array *map) {
    const float *numbers = map->data;
    int64_t height = map->shape[map->rank - 2], width = map->shape[map->rank - 1];
    float low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < height * width; i++) {
        low = fminf(low, numbers[i]);
        high = fmaxf(high, numbers[i]);
    }
    for (int64_t y = 0; y < height; y++) {
        for (int64_t x = 0; x < width; x++) {
            float share = high > low ? (numbers[y * width + x] - low) / (high - low) : 0;
            char shade = " .:-=+*#%@"[(int)(share * 9)];
            printf("%c%c", shade, shade);
        }
        printf("\n");
    }
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: explain MODEL.onnx PICTURE\n");
        return WHITEBOX_USAGE;
    }
    whitebox_error *error = NULL;
    whitebox_model *model = whitebox_model_open(argv[1], NULL, 0, &error);
    if (!model) fail(error);
    const char *options[] = {"--method", "gradcam", "--class", "top1", "--batch", "1"};
    whitebox_engine *engine = whitebox_engine_open(model, options, 6, &error);
    if (!engine) fail(error);
    whitebox_picture picture = {.kind = WHITEBOX_FILE, .name = argv[2]};
    whitebox_results *results = whitebox_explain(engine, &picture, 1, NULL, NULL, &error);
    if (!results) fail(error);
    // Whether it could be read, what the network sees, of which class the map is: all of it is here.
    printf("%s", whitebox_results_json(results, 0));
    whitebox_array map;
    if (whitebox_results_array(results, 0, 0, WHITEBOX_MAP, &map)) draw(&map);
    whitebox_results_free(results);
    whitebox_engine_free(engine);
    whitebox_model_free(model);
}
