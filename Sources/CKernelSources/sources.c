#include "CKernelSources.h"

#include <stddef.h>
#include <string.h>

static const char types[] = {
#embed "../../kernels/types.clh"
    , 0};
static const char common[] = {
#embed "../../kernels/common.clh"
    , 0};
static const char math[] = {
#embed "../../kernels/math.clh"
    , 0};
static const char epilogue[] = {
#embed "../../kernels/epilogue.clh"
    , 0};
static const char grid[] = {
#embed "../../kernels/grid.clh"
    , 0};
static const char window[] = {
#embed "../../kernels/window.clh"
    , 0};
static const char tree[] = {
#embed "../../kernels/tree.clh"
    , 0};
static const char normalise_formulas[] = {
#embed "../../kernels/normalise.clh"
    , 0};
static const char normalise[] = {
#embed "../../kernels/normalise.cl"
    , 0};
static const char elementwise_formulas[] = {
#embed "../../kernels/elementwise.clh"
    , 0};
static const char elementwise[] = {
#embed "../../kernels/elementwise.cl"
    , 0};
static const char convolution[] = {
#embed "../../kernels/convolution.cl"
    , 0};
static const char depthwise[] = {
#embed "../../kernels/depthwise.cl"
    , 0};
static const char peak[] = {
#embed "../../kernels/peak.cl"
    , 0};
static const char pool_formulas[] = {
#embed "../../kernels/pool.clh"
    , 0};
static const char pool[] = {
#embed "../../kernels/pool.cl"
    , 0};
static const char probe[] = {
#embed "../../kernels/probe.cl"
    , 0};
static const char product_formulas[] = {
#embed "../../kernels/product.clh"
    , 0};
static const char product[] = {
#embed "../../kernels/product.cl"
    , 0};
static const char quantise_formulas[] = {
#embed "../../kernels/quantise.clh"
    , 0};
static const char quantise[] = {
#embed "../../kernels/quantise.cl"
    , 0};
static const char reduce_formulas[] = {
#embed "../../kernels/reduce.clh"
    , 0};
static const char reduce[] = {
#embed "../../kernels/reduce.cl"
    , 0};
static const char reverse_product[] = {
#embed "../../kernels/reverse_product.cl"
    , 0};
static const char sample_formulas[] = {
#embed "../../kernels/sample.clh"
    , 0};
static const char sample[] = {
#embed "../../kernels/sample.cl"
    , 0};
static const char sparse_formulas[] = {
#embed "../../kernels/sparse.clh"
    , 0};
static const char sparse[] = {
#embed "../../kernels/sparse.cl"
    , 0};
static const char winograd_formulas[] = {
#embed "../../kernels/winograd.clh"
    , 0};
static const char winograd[] = {
#embed "../../kernels/winograd.cl"
    , 0};

static const struct {
    const char *name, *text;
} table[] = {
    {"types.clh", types},
    {"common.clh", common},
    {"math.clh", math},
    {"epilogue.clh", epilogue},
    {"grid.clh", grid},
    {"window.clh", window},
    {"tree.clh", tree},
    {"normalise.clh", normalise_formulas},
    {"normalise.cl", normalise},
    {"elementwise.clh", elementwise_formulas},
    {"elementwise.cl", elementwise},
    {"convolution.cl", convolution},
    {"depthwise.cl", depthwise},
    {"peak.cl", peak},
    {"pool.clh", pool_formulas},
    {"pool.cl", pool},
    {"probe.cl", probe},
    {"product.clh", product_formulas},
    {"product.cl", product},
    {"quantise.clh", quantise_formulas},
    {"quantise.cl", quantise},
    {"reduce.clh", reduce_formulas},
    {"reduce.cl", reduce},
    {"reverse_product.cl", reverse_product},
    {"sample.clh", sample_formulas},
    {"sample.cl", sample},
    {"sparse.clh", sparse_formulas},
    {"sparse.cl", sparse},
    {"winograd.clh", winograd_formulas},
    {"winograd.cl", winograd},
};

const char *wb_kernel_source(const char *name)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].name, name) == 0) return table[i].text;
    return NULL;
}
