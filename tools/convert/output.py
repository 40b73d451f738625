"""The output directory appears whole or not at all.

Everything is written to a sibling with a temporary name, which takes the final name at the end; an
interrupted run leaves nothing but, at worst, that sibling.
"""
import json
import os
import shutil

from errors import ConvertError


class OutputDir:
    def __init__(self, path, force):
        self.path = os.path.abspath(path)
        self.temp = f"{self.path}.partial-{os.getpid()}"
        self.force = force

    def __enter__(self):
        if os.path.lexists(self.path):
            if not self.force:
                raise ConvertError(f"{self.path}: exists already; give --force to replace it")
            if not os.path.isfile(os.path.join(self.path, "config.json")) and \
                    not is_empty_dir(self.path):
                raise ConvertError(f"{self.path}: not a model directory (no config.json in it), "
                                   "so not replaced even with --force")
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            os.mkdir(self.temp)
        except OSError as e:
            raise ConvertError(f"{self.temp}: {e.strerror}") from None
        return self

    def file(self, name):
        return os.path.join(self.temp, name)

    def need(self, nbytes):
        free = shutil.disk_usage(self.temp).free
        if free < nbytes:
            raise ConvertError(f"{self.path}: {nbytes >> 20} MiB needed, {free >> 20} MiB free")

    def write_json(self, name, value):
        with open(self.file(name), "x", encoding="utf-8") as out:
            json.dump(value, out, indent=1, ensure_ascii=False)
            out.write("\n")

    def publish(self):
        old = f"{self.path}.old-{os.getpid()}"
        if os.path.lexists(self.path):
            os.rename(self.path, old)
        os.rename(self.temp, self.path)
        shutil.rmtree(old, ignore_errors=True)

    def __exit__(self, kind, value, trace):
        shutil.rmtree(self.temp, ignore_errors=True)


def is_empty_dir(path):
    return os.path.isdir(path) and not os.listdir(path)
