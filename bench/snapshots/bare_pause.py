#!/usr/bin/env python3
"""A whole pause by hand, with the classes of qemu_private_clone.py: disk flushed, vCPUs stopped, devices saved, changed
pages read and written to a file that is synced, VMM ended. Median of eight, in milliseconds.

    bare_pause.py --kernel <image> --dir <folder for the work files>
"""
import argparse, os, shutil, tempfile, time
from qemu_private_clone import Bench, PAGE, ms, show

a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
a.add_argument('--kernel', required=True); a.add_argument('--dir', default='.'); o = a.parse_args()
work = os.path.abspath(tempfile.mkdtemp(prefix='bare-', dir=o.dir))

def sync(path):
    fd = os.open(path, os.O_RDONLY); os.fdatasync(fd); os.close(fd)

try:
    b = Bench(work, o.kernel); ram, disk, dev = b.template(); times = []; pages = 0
    for i in range(8):
        vm = b.clone(f'p{i}', ram, disk); vm.load(dev); vm.qmp('cont'); time.sleep(3)
        t = time.time()
        sync(f'{work}/p{i}.qcow2'); vm.qmp('stop'); vm.save(f'{work}/p{i}.dev'); runs = vm.dirty()
        with open(f'{work}/p{i}.mem', 'wb') as f:
            for _, data in runs: f.write(data)
            f.flush(); os.fdatasync(f.fileno())
        sync(f'{work}/p{i}.dev'); vm.quit()
        times.append(ms(t)); pages = sum(len(data) for _, data in runs) // PAGE
    show(f'pause: all of it ({pages} pages)', times)
finally:
    shutil.rmtree(work, ignore_errors=True)
