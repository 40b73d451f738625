/* How far a fast op may be from the reference, which adds up in double: relative L2 over the
 * output, and the largest error relative to the largest value. One rounding to fp32 alone gives
 * 3e-8. The whole engine has to stay within 2e-5 after 27 frames (golden cases), so single ops are
 * held well below it. `observed`: the worst over all shapes, fills and levels when the bound was
 * set. */
#ifndef KT_TESTS_KERNELS_TOLERANCE_H
#define KT_TESTS_KERNELS_TOLERANCE_H

struct ck_tolerance {
    const char *op;
    double rel_l2, rel_max;
    const char *observed, *reason;
};

static const struct ck_tolerance ck_tolerances[] = {
    {"linear", 2e-6, 4e-6, "9.3e-7, 2.1e-6",
     "fp32 sums of k terms in order: error grows as sqrt(k), here to k = 1536"},
    {"conv", 2e-6, 4e-6, "1.0e-6, 1.5e-6",
     "as linear, k = taps * c_in; sums and differences of inputs in winograd.c"},
    {"attention", 2e-6, 4e-6, "8.8e-7, 1.5e-6",
     "fp32 logits: an error of 1e-7 * |logit| in the exponent"},
    {"layer_norm", 1e-6, 2e-6, "6e-7, 8e-7",
     "the mean is subtracted in fp32; sums of up to 9000 terms"},
    {"rms_norm", 6e-7, 1e-6, "3.5e-7, 4.6e-7",
     "fp32 sums of up to 9000 squares in 8 or 16 lanes; one square root, two products"},
    {"channel_norm", 3e-7, 1e-6, "1.3e-7, 2.3e-7", "as rms_norm, and exp to 2 ulp"},
    {"rope", 2e-7, 5e-7, "5e-8, 9e-8", "two products and a sum"},
    {"residual", 1e-7, 2e-7, "0, 0", "one fused multiply-add"},
    {"mul_gelu", 1.5e-6, 2e-6, "4.5e-7, 4.5e-7 (a single value)",
     "exp of an argument up to 15 that was itself rounded"},
    {"tanh3", 3e-7, 1e-6, "0, 0", "tanh; one code on all levels so far"},
    {"sample_step", 2e-7, 5e-7, "0, 0", "a few products; one code on all levels so far"},
    {"to_i420", 0, 0, "one step", "compared as bytes: at most one step apart"},
    {"exact", 0, 0, "0", "moves values, or the same code on all levels: the same bits"},
};

/* CUDA in fp32, where it differs: sums in another order, exp and tanh of the CUDA library (2 ulp).
 */
static const struct ck_tolerance ck_tolerances_cuda[] = {
    {"linear", 2e-6, 4e-6, "7.9e-7, 1.7e-6",
     "fp32 sums of up to 10240 terms, in the library's order"},
    {"conv", 2e-6, 4e-6, "9.0e-7, 2.3e-6", "fp32 sums in order, depth to 27 * 136"},
    {"attention", 4e-6, 8e-6, "2.6e-6, 4.7e-6",
     "as above; the running maximum rescales what was summed; up to 18720 keys"},
    {"tanh3", 4e-7, 1e-6, "1.2e-7, 1.2e-7", "tanhf of the CUDA library"},
    {"sample_step", 2e-7, 5e-7, "0, 0", "in double, but with fused multiply-adds"},
};

/* CUDA in bf16. Inputs are bf16 values and sums are fp32, so that what is left is the rounding of
 * the result: at most 2^-8 = 3.9e-3 of a value, 1.66e-3 in the mean square of many. */
static const struct ck_tolerance ck_tolerances_bf16[] = {
    {"linear", 6e-3, 8e-3, "2.9e-3, 5.3e-3",
     "two roundings where the activation is a kernel of its own, a third of the bias"},
    {"conv", 4e-3, 4e-3, "2.3e-3, 3.8e-3", "one rounding"},
    {"attention", 5e-3, 8e-3, "2.4e-3, 4.8e-3",
     "probabilities are bf16 before they weigh the values"},
    {"layer_norm", 4e-3, 4e-3, "1.8e-3, 3.3e-3", "one rounding"},
    {"rms_norm", 4e-3, 4e-3, "2.0e-3, 3.3e-3", "one rounding"},
    {"channel_norm", 4e-3, 4e-3, "2.1e-3, 3.1e-3", "one rounding"},
    {"rope", 4e-3, 4e-3, "1.9e-3, 3.2e-3", "one rounding"},
    {"residual", 1e-7, 2e-7, "0, 0", "the stream is fp32"},
    {"mul_gelu", 4e-3, 4e-3, "2.3e-3, 2.6e-3", "one rounding"},
    {"tanh3", 4e-3, 4e-3, "2.8e-3, 2.8e-3", "one rounding"},
    {"sample_step", 2e-7, 5e-7, "0, 0", "the sampler is fp32"},
};

/* One pass of the DiT from equal inputs against fp32, relative L2 of the flow, random weights at
 * the real shape. bf16: rounding of activations alone gives 2.7e-3 to 3.0e-3 (H200, empty and full
 * window). fp8: emulating the same rounding to e4m3 in fp32 gives 5.0e-2, the card 5.0e-2
 * to 5.1e-2; half as much again. tests/cuda/faults.c shows that a wrong page, a lost sink or a
 * recache left out exceed both. */
static const double CK_PASS_BF16 = 1e-2, CK_PASS_FP8 = 7.6e-2;

#endif
