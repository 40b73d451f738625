#include "tests/text/tmp_dir.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

int tmp_dir_make(void **state)
{
    struct tmp_dir *dir = calloc(1, sizeof(*dir));

    assert_non_null(dir);
    strcpy(dir->path, "/tmp/kt-test-XXXXXX");
    assert_non_null(mkdtemp(dir->path));
    *state = dir;
    return 0;
}

int tmp_dir_remove(void **state)
{
    struct tmp_dir *dir = *state;
    DIR *d = opendir(dir->path);
    struct dirent *e;

    while (d && (e = readdir(d))) {
        if (e->d_name[0] != '.') {
            unlink(tmp_dir_at(dir, e->d_name));
        }
    }
    closedir(d);
    rmdir(dir->path);
    free(dir);
    return 0;
}

const char *tmp_dir_at(const struct tmp_dir *dir, const char *name)
{
    static char path[512];

    snprintf(path, sizeof(path), "%s/%s", dir->path, name);
    return path;
}

const char *tmp_dir_write(const struct tmp_dir *dir, const char *name, const void *bytes, size_t n)
{
    const char *path = tmp_dir_at(dir, name);
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    return path;
}
