/* Plays arrivals from stdin, one a line: at_us seq epoch pts_us flush late; the clock runs in whole
 * milliseconds to argv[1]. Prints "seq ms" for each picture shown. */
#include "load/playout.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { ARRIVALS_MAX = 4096 };

struct arrival {
    int64_t at_us;
    struct kt_picture picture;
};

static int read_arrival(struct arrival *a)
{
    struct kt_picture *p = &a->picture;
    return scanf("%" SCNd64 " %" SCNu32 " %" SCNu32 " %" SCNd64 " %d %d", &a->at_us, &p->seq,
                 &p->epoch, &p->pts_us, &p->flush, &p->late) == 6;
}

int main(int argc, char **argv)
{
    static struct arrival arrivals[ARRIVALS_MAX];
    static struct kt_playout playout;
    struct kt_picture p;
    int n = 0, next = 0;
    while (n < ARRIVALS_MAX && read_arrival(&arrivals[n])) {
        n++;
    }
    for (int ms = 0; argc > 1 && ms < atoi(argv[1]); ms++) {
        for (; next < n && arrivals[next].at_us <= ms * INT64_C(1000); next++) {
            kt_playout_push(&playout, &arrivals[next].picture, arrivals[next].at_us);
        }
        while (kt_playout_due(&playout, ms * INT64_C(1000), &p)) {
            printf("%" PRIu32 " %d\n", p.seq, ms);
        }
    }
    return 0;
}
