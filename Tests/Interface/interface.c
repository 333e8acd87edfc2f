// The C interface as a stranger may use it: rightly, wrongly, from several threads, over and over. Tools/test_c.sh compiles it with AddressSanitizer
// and LeakSanitizer, so that what is used after it is freed, or never freed, is found.
//
//     interface MODEL PICTURE FOLDER

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <whitebox.h>

#undef NDEBUG
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static whitebox_model *model;
static whitebox_engine *engine;
static const char *picture_path;

static whitebox_results *explain(whitebox_engine *with) {
    whitebox_picture picture = {.kind = WHITEBOX_FILE, .name = picture_path};
    whitebox_results *results = whitebox_explain(with, &picture, 1, NULL, NULL, NULL);
    CHECK(results);
    return results;
}

static void expect(whitebox_error **error, int code, const char *part) {
    CHECK(*error);
    CHECK((int)whitebox_error_code(*error) == code);
    if (!strstr(whitebox_error_text(*error), part)) {
        fprintf(stderr, "“%s” is not in: %s\n", part, whitebox_error_text(*error));
        abort();
    }
    whitebox_error_free(*error);
    *error = NULL;
}

static void wrong(void) {
    whitebox_error *error = NULL;
    CHECK(!whitebox_model_open("missing.onnx", NULL, 0, &error));
    expect(&error, WHITEBOX_MODEL, "missing.onnx");
    CHECK(!whitebox_model_open("missing.onnx", NULL, 0, NULL));
    CHECK(!whitebox_model_open("", NULL, 0, &error));
    expect(&error, WHITEBOX_MODEL, "");
    CHECK(!whitebox_model_open("missing.onnx", NULL, 2, &error));
    expect(&error, WHITEBOX_USAGE, "NULL");
    const char *options[] = {"--method", "nothing"};
    CHECK(!whitebox_engine_open(model, options, 2, &error));
    expect(&error, WHITEBOX_METHOD, "nothing");
    const char *unknown[] = {"--unknown"};
    CHECK(!whitebox_engine_open(model, unknown, 1, &error));
    expect(&error, WHITEBOX_USAGE, "unknown");
    const char *help[] = {"--help"};
    CHECK(!whitebox_engine_open(model, help, 1, &error));
    expect(&error, WHITEBOX_USAGE, "");
    CHECK(!whitebox_explain(engine, NULL, 3, NULL, NULL, &error));
    expect(&error, WHITEBOX_USAGE, "NULL");
    whitebox_picture pictures[] = {
        {.kind = WHITEBOX_PIXELS, .name = "no data", .height = 3, .width = 3},
        {.kind = WHITEBOX_PIXELS, .name = "no size", .data = "x", .height = -1, .width = 1 << 30},
        {.kind = WHITEBOX_PIXELS, .name = "too large", .data = "x", .height = 1 << 30, .width = 1 << 30},
        {.kind = (whitebox_kind)77, .name = "no kind", .data = "x"},
    };
    const int codes[] = {WHITEBOX_USAGE, 0, 0, WHITEBOX_USAGE};
    for (int i = 0; i < 4; i++) {
        if (!codes[i]) {
            whitebox_results *failed = whitebox_explain(engine, &pictures[i], 1, NULL, NULL, &error);
            CHECK(failed && strstr(whitebox_results_json(failed, 0), "The pixels must be"));
            whitebox_results_free(failed);
            continue;
        }
        CHECK(!whitebox_explain(engine, &pictures[i], 1, NULL, NULL, &error));
        expect(&error, codes[i], pictures[i].name);
    }
    // Numbers that can only be mistakes.
    CHECK(!whitebox_explain(engine, pictures, (size_t)-1, NULL, NULL, &error));
    expect(&error, WHITEBOX_USAGE, "is no number of pictures");
    CHECK(!whitebox_engine_open(model, options, (size_t)-1, &error));
    expect(&error, WHITEBOX_USAGE, "is no number of options");
    whitebox_picture huge = {.kind = WHITEBOX_NUMBERS, .name = "huge", .data = "x", .size = (size_t)1 << 62};
    CHECK(!whitebox_explain(engine, &huge, 1, NULL, NULL, &error));
    expect(&error, WHITEBOX_USAGE, "is no number of bytes");
    // What is a picture and cannot be explained is a result.
    whitebox_picture bad[] = {
        {.kind = WHITEBOX_FILE, .name = "missing.png"},
        {.kind = WHITEBOX_ENCODED, .name = "rubbish", .data = "rubbish", .size = 7},
        {.kind = WHITEBOX_NUMBERS, .name = "short", .data = "1234", .size = 1},
        {.kind = WHITEBOX_FILE, .name = picture_path, .target = "no such class"},
        {.kind = WHITEBOX_FILE, .name = picture_path, .target = "285"},
    };
    whitebox_results *results = whitebox_explain(engine, bad, 5, NULL, NULL, &error);
    CHECK(results && whitebox_results_count(results) == 5);
    whitebox_array array;
    const char *words[] = {"missing.png", "rubbish", "short", "no such class"};
    for (int i = 0; i < 4; i++) {
        CHECK(strstr(whitebox_results_json(results, i), words[i]));
        CHECK(strstr(whitebox_results_json(results, i), "\"code\""));
        CHECK(!whitebox_results_array(results, i, 0, WHITEBOX_MAP, &array));
    }
    CHECK(whitebox_results_array(results, 4, 0, WHITEBOX_MAP, &array));
    CHECK(!whitebox_results_array(results, 4, 99, WHITEBOX_MAP, &array));
    CHECK(!whitebox_results_array(results, 99, 0, WHITEBOX_MAP, &array));
    CHECK(!whitebox_results_array(results, 4, 0, (whitebox_content)99, &array));
    CHECK(!whitebox_results_array(results, 4, 0, WHITEBOX_SAMPLE_ERROR, &array));
    CHECK(!whitebox_results_json(results, 5));
    whitebox_results_free(results);
    results = whitebox_explain(engine, NULL, 0, NULL, NULL, &error);
    CHECK(results && whitebox_results_count(results) == 0);
    whitebox_results_free(results);
    whitebox_model_free(NULL);
    whitebox_engine_free(NULL);
    whitebox_results_free(NULL);
    whitebox_error_free(NULL);
}

static bool count_file(void *context, const char *name, const uint8_t *data, size_t size) {
    CHECK(strlen(name) > 4 && size > 8 && data[0]);
    (*(int *)context)++;
    return true;
}

static bool refuse(void *context, const char *name, const uint8_t *data, size_t size) {
    (void)context, (void)name, (void)data, (void)size;
    return false;
}

static bool stop(void *context, double done) {
    (void)done;
    return ++*(int *)context < 3;
}

// Handles are freed in the order in which nobody should, and what is left goes on to work.
static void lifetimes(const char *path, const char *folder) {
    whitebox_error *error = NULL;
    whitebox_model *own = whitebox_model_open(path, NULL, 0, &error);
    CHECK(own && strstr(whitebox_model_json(own, &error), "\"labels\""));
    const char *options[] = {"--method", "gradcam,fem", "--device", "cpu"};
    whitebox_engine *with = whitebox_engine_open(own, options, 4, &error);
    CHECK(with && strstr(whitebox_engine_json(with, &error), "\"numerics\""));
    whitebox_model_free(own);
    whitebox_results *results[] = {explain(with), explain(with)};
    whitebox_engine_free(with);
    whitebox_array array;
    for (int content = WHITEBOX_MAP; content <= WHITEBOX_VIEW; content++) {
        bool is_there = whitebox_results_array(results[0], 0, 1, content, &array);
        CHECK(is_there == (content != WHITEBOX_SAMPLE_ERROR));
        if (is_there) {
            size_t bytes = content == WHITEBOX_VIEW ? 1 : 4;
            for (int axis = 0; axis < array.rank; axis++) bytes *= (size_t)array.shape[axis];
            volatile unsigned sum = 0;
            for (size_t i = 0; i < bytes; i++) sum += ((const unsigned char *)array.data)[i];
        }
    }
    int files = 0;
    CHECK(whitebox_results_files(results[0], 0, NULL, 0, count_file, &files, &error) && files == 7);
    CHECK(!whitebox_results_files(results[0], 0, NULL, 0, refuse, NULL, &error));
    expect(&error, WHITEBOX_CANCELLED, "");
    CHECK(!whitebox_results_files(results[0], 1, NULL, 0, count_file, &files, &error));
    expect(&error, WHITEBOX_USAGE, "");
    CHECK(whitebox_results_save(results, 2, folder, NULL, 0, &error));
    CHECK(!whitebox_results_save(results, 2, folder, NULL, 0, &error));
    expect(&error, WHITEBOX_OUTPUT, "already");
    whitebox_results *other = explain(engine);
    whitebox_results *mixed[] = {results[0], other};
    CHECK(!whitebox_results_save(mixed, 2, folder, NULL, 0, &error));
    expect(&error, WHITEBOX_USAGE, "several engines");
    whitebox_results_free(other);
    whitebox_results_free(results[0]);
    whitebox_results_free(results[1]);
}

static void *many(void *unused) {
    (void)unused;
    for (int i = 0; i < 20; i++) {
        whitebox_results *results = explain(engine);
        whitebox_array array;
        CHECK(whitebox_results_array(results, 0, 0, WHITEBOX_HEATMAP, &array) && array.rank == 2);
        CHECK(whitebox_results_json(results, 0));
        whitebox_results_free(results);
        whitebox_error *error = NULL;
        CHECK(!whitebox_model_open("missing.onnx", NULL, 0, &error));
        expect(&error, WHITEBOX_MODEL, "missing.onnx");
    }
    return NULL;
}

static bool use_engine(void *context, double done) {
    (void)done;
    whitebox_error *error = NULL;
    CHECK(!whitebox_engine_json(engine, &error));
    expect(&error, WHITEBOX_USAGE, "progress function");
    whitebox_picture picture = {.kind = WHITEBOX_FILE, .name = picture_path};
    CHECK(!whitebox_explain(engine, &picture, 1, NULL, NULL, &error));
    expect(&error, WHITEBOX_USAGE, "progress function");
    (*(int *)context)++;
    return true;
}

// A cancel ends the call that computes, and no other, before or after.
static atomic_int answered, ended;
static void *ask(void *which) {
    whitebox_picture picture = {.kind = WHITEBOX_FILE, .name = picture_path};
    for (int i = 0; i < 30; i++) {
        whitebox_error *error = NULL;
        whitebox_results *results = whitebox_explain(which, &picture, 1, NULL, NULL, &error);
        atomic_fetch_add(results ? &answered : &ended, 1);
        if (!results) expect(&error, WHITEBOX_CANCELLED, "ended");
        whitebox_results_free(results);
    }
    return NULL;
}

static void cancels_are_single(void) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) CHECK(!pthread_create(&threads[i], NULL, ask, engine));
    for (int i = 0; i < 10; i++) {
        usleep(20000);
        whitebox_engine_cancel(engine);
    }
    for (int i = 0; i < 4; i++) CHECK(!pthread_join(threads[i], NULL));
    CHECK(ended <= 10 && answered + ended == 120);
    for (int i = 0; i < 20; i++) {
        whitebox_engine_cancel(engine);
        whitebox_results_free(explain(engine));
    }
}

static void *cancel(void *which) {
    for (int i = 0; i < 50; i++) {
        usleep(20000);
        whitebox_engine_cancel(which);
    }
    return NULL;
}

// A call that would take minutes ends when it is told to, and the next one works.
static void cancelled(void) {
    whitebox_error *error = NULL;
    const char *options[] = {"--method", "rise", "--set", "rise.samples=20000", "--device", "cpu"};
    whitebox_engine *slow = whitebox_engine_open(model, options, 6, &error);
    CHECK(slow);
    whitebox_engine_cancel(slow); // nothing is computing
    whitebox_picture picture = {.kind = WHITEBOX_FILE, .name = picture_path};
    pthread_t thread;
    CHECK(!pthread_create(&thread, NULL, cancel, slow));
    CHECK(!whitebox_explain(slow, &picture, 1, NULL, NULL, &error));
    expect(&error, WHITEBOX_CANCELLED, "ended");
    CHECK(!pthread_join(thread, NULL));
    int calls = 0;
    CHECK(!whitebox_explain(slow, &picture, 1, stop, &calls, &error));
    CHECK(calls == 3);
    expect(&error, WHITEBOX_CANCELLED, "ended");
    whitebox_engine_free(slow);
}

int main(int argc, char **argv) {
    CHECK(argc == 4);
    CHECK(whitebox_interface() >> 16 == WHITEBOX_INTERFACE_MAJOR);
    CHECK(strlen(whitebox_version()) >= 5 && whitebox_numerics() >= 1);
    picture_path = argv[2];
    whitebox_error *error = NULL;
    model = whitebox_model_open(argv[1], NULL, 0, &error);
    CHECK(model && !error);
    const char *options[] = {"--device", "cpu", "--batch", "2"};
    engine = whitebox_engine_open(model, options, 4, &error);
    CHECK(engine && !error);
    wrong();
    lifetimes(argv[1], argv[3]);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) CHECK(!pthread_create(&threads[i], NULL, many, NULL));
    for (int i = 0; i < 4; i++) CHECK(!pthread_join(threads[i], NULL));
    int told = 0;
    whitebox_picture picture = {.kind = WHITEBOX_FILE, .name = picture_path};
    whitebox_results *results = whitebox_explain(engine, &picture, 1, use_engine, &told, &error);
    CHECK(results && told > 0);
    whitebox_results_free(results);
    cancels_are_single();
    cancelled();
    whitebox_engine_free(engine);
    whitebox_model_free(model);
    printf("The C interface does what its header says.\n");
}
