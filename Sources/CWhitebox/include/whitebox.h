// Whitebox for other languages: heat maps of what an image classifier looked at, by libwhitebox.so.
//
//     whitebox_error *error = NULL;
//     whitebox_model *model = whitebox_model_open("resnet50.onnx", NULL, 0, &error);
//     const char *options[] = {"--method", "gradcam,fem", "--device", "cpu"};
//     whitebox_engine *engine = whitebox_engine_open(model, options, 4, &error);
//     whitebox_picture picture = {.kind = WHITEBOX_FILE, .name = "elephant.jpg"};
//     whitebox_results *results = whitebox_explain(engine, &picture, 1, NULL, NULL, &error);
//     whitebox_array map;
//     if (whitebox_results_array(results, 0, 0, WHITEBOX_MAP, &map)) use(map.data, map.shape, map.rank);
//
// Options are those of `app explain`, word for word (Documentation/CommandLine.md): what the command line takes in one place is not said anew
// here. Texts are UTF-8 and end with a zero; file names may be any bytes. Documents are JSON, with the keys that results.json has.
//
// What a function returns as a pointer that is not const is the caller's, who gives it to the `…_free` of its kind; NULL is allowed there. What is
// const belongs to the object that it was asked of and lives as long. A model may be freed before its engines, an engine before its results.
//
// Where something fails NULL is returned (or false) and, if `error` is not NULL, an error is put there, which the caller frees.
//
// Everything may be called by any thread at any time, with two exceptions: an object must not be freed while another thread uses it, and an error
// belongs to the thread that it was given to. An engine computes for one thread at a time; others wait; a progress function, which is called while it
// computes, cannot use that engine. There is no state but in these objects, and in threads that wait for work: a process that is forked from one that
// has opened anything cannot use the library.

#ifndef WHITEBOX_H
#define WHITEBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Whether NULL is allowed; Clang, and Swift, know these words.
#if !defined(__clang__) && !defined(_Nonnull)
#define _Nonnull
#define _Nullable
#endif

#ifdef __cplusplus
extern "C" {
#endif

// The version of this header. Of the same number all that is declared here stays as it is; functions may be added, with a higher minor number.
#define WHITEBOX_INTERFACE_MAJOR 1
#define WHITEBOX_INTERFACE_MINOR 0

// The same of the library that is loaded: major << 16 | minor.
uint32_t whitebox_interface(void);
// The version of Whitebox, such as "0.1.0".
const char *_Nonnull whitebox_version(void);
// The version of the numerics: results with the same one have the same bits, on every device.
uint32_t whitebox_numerics(void);

// MARK: Errors

// Why something failed. The codes are the exit codes of the program.
typedef enum whitebox_code {
    WHITEBOX_INPUT = 3,              // a picture or an array is missing, broken, or not what it should be
    WHITEBOX_MODEL = 4,              // a model is missing, broken, or contradicts itself
    WHITEBOX_UNSUPPORTED_MODEL = 5,  // a model uses operators or features that are not supported
    WHITEBOX_LAYER = 6,              // there is no such layer, or it cannot be mapped
    WHITEBOX_CLASS = 7,              // there is no such class
    WHITEBOX_DEVICE = 8,             // the device is not there, or not able
    WHITEBOX_METHOD = 9,             // a method cannot be applied to this layer or with these options
    WHITEBOX_OUTPUT = 10,            // a result cannot be written, or is there already
    WHITEBOX_SETTINGS = 11,          // a preprocessing or label file is broken, or does not fit
    WHITEBOX_LIMIT = 12,             // a limit would be exceeded
    WHITEBOX_USAGE = 64,             // an option is wrong, or an argument of a function
    WHITEBOX_CANCELLED = 130,        // whitebox_engine_cancel was called, or the progress function asked for an end
} whitebox_code;

typedef struct whitebox_error whitebox_error;
whitebox_code whitebox_error_code(const whitebox_error *_Nonnull error);
// One full sentence for people: which file, node or option, what is wrong with it, and what would work.
const char *_Nonnull whitebox_error_text(const whitebox_error *_Nonnull error);
void whitebox_error_free(whitebox_error *_Nullable error);

// MARK: Models

// A trained network with what is needed to feed it pictures and to name what it says.
typedef struct whitebox_model whitebox_model;

// Opens an ONNX file. Options: --preprocess, --labels, --size, --input, --score-output, --frames, --memory-limit, --work-limit, --verbose.
whitebox_model *_Nullable whitebox_model_open(const char *_Nonnull path, const char *_Nonnull const *_Nullable options, size_t count,
                                              whitebox_error *_Nullable *_Nullable error);
// What it is: file, sha256, input [height, width], labels, preprocessing and where that is from, layers, notes.
const char *_Nullable whitebox_model_json(whitebox_model *_Nonnull model, whitebox_error *_Nullable *_Nullable error);
void whitebox_model_free(whitebox_model *_Nullable model);

// MARK: Engines

// A model made ready on a device for certain methods. Making one plans the computation and loads the weights; explaining reuses all of it.
typedef struct whitebox_engine whitebox_engine;

// Options: --method, --class, --against, --negative, --score, --layer, --each-layer, --set, --augment, --seed, --batch, --device (several, or all:
// batches are shared between them), --threads; and --classify, with which no map is made, as by `app classify`.
whitebox_engine *_Nullable whitebox_engine_open(whitebox_model *_Nonnull model, const char *_Nonnull const *_Nullable options, size_t count,
                                                whitebox_error *_Nullable *_Nullable error);
// What results.json says of a run, but for its pictures: versions, device, model, options, layers, methods that were left out; and notes.
const char *_Nullable whitebox_engine_json(whitebox_engine *_Nonnull engine, whitebox_error *_Nullable *_Nullable error);
// Ends the call of whitebox_explain that is computing, as soon as the device has done what it was given; it fails with WHITEBOX_CANCELLED.
// Where none is computing nothing happens; calls that wait for their turn go on to wait. It may be called in a signal handler.
void whitebox_engine_cancel(whitebox_engine *_Nonnull engine);
void whitebox_engine_free(whitebox_engine *_Nullable engine);

// MARK: Explaining

typedef enum whitebox_kind {
    WHITEBOX_FILE = 0,     // a picture file, whose path is the name
    WHITEBOX_ENCODED = 1,  // the bytes of a picture file, `size` of them
    WHITEBOX_PIXELS = 2,   // red, green and blue bytes, [height, width, 3]
    WHITEBOX_NUMBERS = 3,  // the network's input itself, `size` float32 numbers, [C, H, W], already normalised
} whitebox_kind;

// A picture. Nothing of it is needed any more when the function that takes it returns.
typedef struct whitebox_picture {
    whitebox_kind kind;
    const char *_Nonnull name;  // in results, file names and sentences
    const void *_Nullable data; // NULL for a file
    size_t size;                // bytes, or numbers; nothing for a file and for pixels
    int32_t height, width;      // for pixels
    const char *_Nullable target; // the class to explain, in place of the engine's --class; NULL for that
} whitebox_picture;

// Is told, now and then, how many of the pictures are done, parts of them counted; true goes on, false ends the call. It is called by the
// thread that called whitebox_explain.
typedef bool (*whitebox_progress)(void *_Nullable context, double done);

// What was found, of as many pictures as were given, in their order.
typedef struct whitebox_results whitebox_results;

// Explains pictures, in batches. One that cannot be read has a result that says so, and the others go on.
whitebox_results *_Nullable whitebox_explain(whitebox_engine *_Nonnull engine, const whitebox_picture *_Nullable pictures, size_t count,
                                             whitebox_progress _Nullable progress, void *_Nullable context,
                                             whitebox_error *_Nullable *_Nullable error);
void whitebox_results_free(whitebox_results *_Nullable results);

// MARK: Results

size_t whitebox_results_count(const whitebox_results *_Nonnull results);
// What results.json has of a picture: predictions, and of each map the method, class, layer, whether it is blank, …; with titles and seconds.
// Where it could not be explained, "error" is the sentence and "code" its whitebox_code.
const char *_Nullable whitebox_results_json(const whitebox_results *_Nonnull results, size_t picture);

typedef enum whitebox_content {
    WHITEBOX_MAP = 0,           // float32, the method's own numbers, [height, width] of the layer or of the input ([frames, height, width] of videos)
    WHITEBOX_HEATMAP = 1,       // float32, 0 … 1, [height, width] of the network's input
    WHITEBOX_SAMPLE_ERROR = 2,  // float32, the standard error of each number of the map, where it was sampled
    WHITEBOX_LOGITS = 3,        // float32, [classes]; of the picture, whatever map is named
    WHITEBOX_PROBABILITIES = 4, // the same
    WHITEBOX_VIEW = 5,          // uint8, [height, width, 3], what the network saw; the same
} whitebox_content;

typedef struct whitebox_array {
    const void *_Nullable data;  // row by row, without gaps
    int64_t shape[3];
    int32_t rank;
} whitebox_array;

// Numbers of a picture, without a copy: they live as long as the results. False where there are none.
bool whitebox_results_array(whitebox_results *_Nonnull results, size_t picture, size_t map, whitebox_content content,
                            whitebox_array *_Nonnull array);

// Takes a file: its name, and its bytes, which live until it returns. False ends the call.
typedef bool (*whitebox_file)(void *_Nullable context, const char *_Nonnull name, const uint8_t *_Nonnull data, size_t size);

// Makes the files of a picture without writing them. Options: --write, --overlay, --colormap, --opacity, --scale, --threshold.
bool whitebox_results_files(whitebox_results *_Nonnull results, size_t picture, const char *_Nonnull const *_Nullable options, size_t count,
                            whitebox_file _Nonnull file, void *_Nullable context, whitebox_error *_Nullable *_Nullable error);

// Writes results that one engine found, one after the other, into a folder, as `app explain` does: files of each picture, and results.json.
// Options: as above, and --force.
bool whitebox_results_save(whitebox_results *_Nonnull const *_Nonnull results, size_t results_count, const char *_Nonnull folder,
                           const char *_Nonnull const *_Nullable options, size_t count, whitebox_error *_Nullable *_Nullable error);

// MARK: The program

// Runs the command line, `app`, with the arguments that this process was given, and ends the process. It is for a program that does nothing else.
void whitebox_main(void);

#ifdef __cplusplus
}
#endif

#endif
