/* What identifies the model and the machine to a log. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/hash.h"
#include "engine/journal.h"

enum { EDGE_BYTES = 1 << 20 };

/* `hash` goes on over the file's size, and its first and last MiB: gigabytes are not read. */
static int add_file(uint64_t *hash, const char *dir, const char *file, struct kt_error *err)
{
    char path[4096];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", dir, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *edge = malloc(EDGE_BYTES);
    int rc = fd < 0 || fstat(fd, &st) < 0 ? -errno : edge ? 0 : -ENOMEM;
    for (int last = 0; last < 2 && rc == 0; last++) {
        off_t at = last && st.st_size > EDGE_BYTES ? st.st_size - EDGE_BYTES : 0;
        ssize_t n = pread(fd, edge, EDGE_BYTES, at);
        rc = n < 0 ? -errno : 0;
        *hash = n < 0 ? *hash : kt_hash64(edge, (size_t)n, *hash ^ (uint64_t)st.st_size);
    }
    free(edge);
    if (fd >= 0) {
        close(fd);
    }
    return rc < 0 ? kt_fail(err, rc, "%s: %s", path, strerror(-rc)) : 0;
}

static int hash_model(uint64_t *hash, const struct kt_engine_params *p,
                      const struct kt_model_config *c, struct kt_error *err)
{
    const char *files[] = {c->dit.file, c->text.vocab ? c->text.file : "", c->text.tokenizer,
                           c->vae.kind ? c->vae.file : ""};
    int rc = p->config ? 0 : add_file(hash, p->model_dir, "config.json", err);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]) && rc == 0; i++) {
        rc = files[i][0] && !p->random_weights ? add_file(hash, p->model_dir, files[i], err) : 0;
    }
    return rc;
}

int kt_journal_describe(struct kt_journal_head *head, const struct kt_lane_params *lane,
                        const struct kt_engine_params *p, struct kt_error *err)
{
    const struct kt_model_config *c = kt_engine_config(lane->engine);
    const struct kt_device *dev = kt_engine_device(lane->engine);
    *head = (struct kt_journal_head){.format = KT_JOURNAL_FORMAT,
                                     .threads = dev->threads,
                                     .window = p->window,
                                     .tiny_vae = p->tiny_vae != 0,
                                     .random_weights = p->random_weights != 0};
    kt_lane_board_params(lane, &head->board);
    snprintf(head->library, sizeof(head->library), "%s", KT_VERSION);
    snprintf(head->model, sizeof(head->model), "%s", c->name);
    snprintf(head->device, sizeof(head->device), "%.4s", p->device.kind ? p->device.kind : "cpu");
    snprintf(head->kernels, sizeof(head->kernels), "%s", dev->k.name);
    snprintf(head->precision, sizeof(head->precision), "%s",
             kt_precision_name(kt_device_precision(dev)));
    return hash_model(&head->weights, p, c, err);
}
