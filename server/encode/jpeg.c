/* JPEG by libjpeg-turbo, for browsers without WebCodecs. JPEG means full-range BT.601, so the
 * picture goes through RGB. */
#include "server/encode/encoder.h"

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

/* libjpeg wants stdio.h before it. */
#include <jpeglib.h>
#include <libyuv.h>

struct jpeg {
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    struct jpeg_destination_mgr destination;
    jmp_buf failed; /* libjpeg's only way to report an error */
    int full;
    int width, height, quality;
    uint8_t *bgr;
};

static void on_error(j_common_ptr c)
{
    struct jpeg *j = c->client_data;
    longjmp(j->failed, 1);
}

static void on_message(j_common_ptr c, int level)
{
}

static void destination_init(j_compress_ptr c)
{
}

/* Called when the packet is full: there is no second one. */
static boolean destination_full(j_compress_ptr c)
{
    struct jpeg *j = c->client_data;
    j->full = 1;
    longjmp(j->failed, 1);
}

static void destination_end(j_compress_ptr c)
{
}

static void jpeg_close(void *state)
{
    struct jpeg *j = state;
    jpeg_destroy_compress(&j->c);
    free(j->bgr);
    free(j);
}

static int jpeg_open(void **state, const struct kt_encoder_params *p, struct kt_error *err)
{
    struct jpeg *j = calloc(1, sizeof(*j));
    uint8_t *bgr = malloc((size_t)p->width * (size_t)p->height * 3);
    if (!j || !bgr) {
        free(bgr);
        free(j);
        return kt_fail(err, -ENOMEM, "encoder: out of memory");
    }
    j->bgr = bgr;
    j->width = p->width;
    j->height = p->height;
    j->quality = p->quality > 0 ? p->quality : 85;
    j->c.err = jpeg_std_error(&j->errors);
    j->errors.error_exit = on_error;
    j->errors.emit_message = on_message;
    j->c.client_data = j;
    if (setjmp(j->failed)) {
        jpeg_close(j);
        return kt_fail(err, -ENOMEM, "encoder: libjpeg cannot start");
    }
    jpeg_create_compress(&j->c);
    j->destination = (struct jpeg_destination_mgr){.init_destination = destination_init,
                                                   .empty_output_buffer = destination_full,
                                                   .term_destination = destination_end};
    j->c.dest = &j->destination;
    *state = j;
    return 0;
}

static void compress(struct jpeg *j)
{
    j->c.image_width = (JDIMENSION)j->width;
    j->c.image_height = (JDIMENSION)j->height;
    j->c.input_components = 3;
    j->c.in_color_space = JCS_EXT_BGR;
    jpeg_set_defaults(&j->c);
    jpeg_set_quality(&j->c, j->quality, TRUE);
    j->c.dct_method = JDCT_IFAST;
    jpeg_start_compress(&j->c, TRUE);
    while (j->c.next_scanline < j->c.image_height) {
        JSAMPROW row = j->bgr + (size_t)j->c.next_scanline * (size_t)j->width * 3;
        jpeg_write_scanlines(&j->c, &row, 1);
    }
    jpeg_finish_compress(&j->c);
}

static int jpeg_encode(void *state, const struct kt_encode_job *job, int *key, struct kt_error *err)
{
    struct jpeg *j = state;
    const int rc = kt_encoder_want_host(job, err);
    if (rc < 0) {
        return rc;
    }
    const size_t luma = (size_t)j->width * (size_t)j->height;
    const uint8_t *y = job->i420, *u = y + luma, *v = u + luma / 4;
    if (I420ToRGB24Matrix(y, j->width, u, j->width / 2, v, j->width / 2, j->bgr, j->width * 3,
                          &kYuvH709Constants, j->width, j->height) != 0) {
        return kt_fail(err, -EIO, "encoder: libyuv refused the picture");
    }
    j->full = 0;
    j->destination.next_output_byte = job->out;
    j->destination.free_in_buffer = job->cap;
    if (setjmp(j->failed)) {
        jpeg_abort_compress(&j->c);
        return j->full ? kt_fail(err, -ENOSPC, "encoder: a JPEG of more than %zu bytes", job->cap)
                       : kt_fail(err, -EIO, "encoder: libjpeg failed");
    }
    compress(j);
    *key = 1;
    return (int)(job->cap - j->destination.free_in_buffer);
}

const struct kt_encoder_ops kt_encoder_jpeg = {jpeg_open, jpeg_encode, jpeg_close};
