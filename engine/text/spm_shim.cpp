#include "engine/text/spm_shim.h"

#include <cerrno>
#include <cstdio>
#include <new>
#include <vector>

#include <sentencepiece_processor.h>

struct kt_spm {
    sentencepiece::SentencePieceProcessor processor;
};

int kt_spm_open(struct kt_spm **spm, const void *model, size_t n, char *message, size_t cap)
{
    *spm = nullptr;
    kt_spm *opened = nullptr;
    int r = -EBADMSG;
    try {
        opened = new kt_spm;
        const auto status =
            opened->processor.LoadFromSerializedProto({static_cast<const char *>(model), n});
        if (status.ok()) {
            *spm = opened;
            return 0;
        }
        std::snprintf(message, cap, "%s", status.ToString().c_str());
    } catch (const std::bad_alloc &) {
        std::snprintf(message, cap, "out of memory");
        r = -ENOMEM;
    } catch (...) {
        std::snprintf(message, cap, "SentencePiece gave up");
    }
    delete opened;
    return r;
}

void kt_spm_close(struct kt_spm **spm)
{
    if (spm) {
        delete *spm;
        *spm = nullptr;
    }
}

int kt_spm_size(const struct kt_spm *spm)
{
    return spm->processor.GetPieceSize();
}

int kt_spm_eos(const struct kt_spm *spm)
{
    return spm->processor.eos_id();
}

int kt_spm_is_control(const struct kt_spm *spm, int id)
{
    return spm->processor.IsControl(id);
}

int kt_spm_encode(const struct kt_spm *spm, const char *text, size_t n, int32_t *ids, int cap)
{
    try {
        std::vector<int> all;
        if (!spm->processor.Encode({text, n}, &all).ok()) {
            return -EINVAL;
        }
        int written = 0;
        for (; written < cap && written < static_cast<int>(all.size()); written++) {
            ids[written] = all[static_cast<size_t>(written)];
        }
        return written;
    } catch (const std::bad_alloc &) {
        return -ENOMEM;
    } catch (...) {
        return -EINVAL;
    }
}
