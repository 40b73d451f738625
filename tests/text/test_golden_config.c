/* The config.json of every golden case is read. Skipped (77) where the cases are not at hand. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/model/config.h"

static void reads_every_case(void **state)
{
    const char *root = getenv("KT_GOLDEN_DIR");
    DIR *cases = opendir(root);
    struct kt_model_config c;
    struct kt_error err;
    char dir[512], kind[32];
    struct dirent *e;
    int n = 0;

    (void)state;
    assert_non_null(cases);
    while ((e = readdir(cases))) {
        if (e->d_name[0] == '.') {
            continue;
        }
        snprintf(dir, sizeof(dir), "%s/%s", root, e->d_name);
        if (kt_model_config_load_golden(&c, kind, dir, &err) != 0) {
            fail_msg("%s", err.text);
        }
        kt_model_config_free(&c);
        n++;
    }
    closedir(cases);
    assert_true(n > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(reads_every_case)};
    const char *root = getenv("KT_GOLDEN_DIR");
    DIR *d = root ? opendir(root) : NULL;

    if (!d) {
        fprintf(stderr, "no golden cases at %s\n", root ? root : "KT_GOLDEN_DIR");
        return 77;
    }
    closedir(d);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
