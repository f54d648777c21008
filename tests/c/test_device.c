/* SPDX-License-Identifier: BSD-3-Clause */
/* test_device.c -- opening, refusing, translating, shrinking, dying */
#define _GNU_SOURCE
#include "device.h"

#include <signal.h>
#include <sys/wait.h>

#include "fixture.h"
#include "invariants.h"
#include "oom.h"
#include "tmpdir.h"

enum { MIB = 1 << 20 };
enum { CREATE = DAX_DEVICE_CREATE, OVERWRITE = DAX_DEVICE_OVERWRITE };

static void memory(void)
{
	struct dax_device *dev = NULL;

	EQ(dax_device_memory(&dev, 3 * MIB), 0);
	MUST(dev);
	EQ(dax_device_size(dev), 3 * MIB);
	EQ(dax_device_free_bytes(dev), 3 * MIB);
	EQ(dax_device_alignment(dev), PAGE);
	EQ(dax_device_alive(dev), 1);
	EQ(dax_device_readonly(dev), 0);
	EQ(dax_device_nr_files(dev), 0);
	CHECK(!strcmp(dax_device_path(dev), "memory"));
	dax_device_get(dev);
	dax_device_put(dev);
	EQ(dax_device_alive(dev), 1);
	dax_device_put(dev);
}

static void memory_refused(uint64_t size, int err, const char *message)
{
	struct dax_device *dev = NULL;

	EQ(dax_device_memory(&dev, size), err);
	CHECK(!dev);
	CHECK(errormsg_has(message));
}

static void memory_sizes(void)
{
	memory_refused(0, -EINVAL, "size is 0");
	memory_refused(4095, -EINVAL, "4095 is not a multiple of 4096");
	memory_refused(4097, -EINVAL, "4097 is not a multiple of 4096");
	memory_refused(UINT64_MAX, -EINVAL, "18446744073709551615");
	memory_refused(UINT64_MAX - 4095, -EFBIG, "18446744073709547520");
	memory_refused((UINT64_C(1) << 47) + 4096, -EFBIG, "128 TiB");
}

/* What was opened, or why not; then closed. */
static void opens(const char *path, uint64_t size, unsigned int flags,
		  uint64_t expected)
{
	struct dax_device *dev = NULL;

	EQ(dax_device_open(&dev, path, size, flags), 0);
	if (!dev) {
		printf("# %s\n", dax_errormsg());
		return;
	}
	EQ(dax_device_size(dev), expected);
	EQ(dax_device_readonly(dev), !(flags & (CREATE | OVERWRITE)));
	CHECK(!strcmp(dax_device_path(dev), path));
	dax_device_put(dev);
}

static void refused(const char *path, uint64_t size, unsigned int flags,
		    int err, const char *message)
{
	struct dax_device *dev = NULL;

	EQ(dax_device_open(&dev, path, size, flags), err);
	CHECK(!dev);
	CHECK(errormsg_has(message));
	if (!errormsg_has(message))
		printf("# said: %s\n", dax_errormsg());
}

static void files(void)
{
	const char *path = tmp_path("created");

	opens(path, MIB, CREATE, MIB);
	EQ(file_size(path), MIB);
	opens(path, 0, 0, MIB);				/* read-only */
	opens(path, MIB / 2, 0, MIB / 2);		/* a part of it */
	opens(path, 0, OVERWRITE, MIB);
	opens(path, MIB / 2, OVERWRITE, MIB / 2);
	EQ(file_size(path), MIB);			/* never shrunk by us */
	opens(path, 2 * MIB, OVERWRITE, 2 * MIB);	/* grown */
	EQ(file_size(path), 2 * MIB);
	opens(path, 0, CREATE | OVERWRITE, 2 * MIB);
	sys_unlink(path);
	opens(path, MIB, CREATE | OVERWRITE, MIB);
	sys_unlink(path);
}

static void errors(void)
{
	const char *path = tmp_file("exists", 8192, 'x');
	const char *odd = tmp_file("odd", 5000, 'x');
	const char *empty = tmp_file("empty", 0, 'x');

	refused(tmp_path("missing"), 0, 0, -ENOENT, "no such file");
	refused(tmp_path("missing"), MIB, OVERWRITE, -ENOENT, "pass create");
	refused(tmp_path("missing/below"), MIB, CREATE, -ENOENT, "below");
	refused(path, 8192, CREATE, -EEXIST, "exists");
	refused(path, 8192, 4, -EINVAL, "0x4");
	refused(path, 0, 0xffffffff, -EINVAL, "unknown bits");
	refused(path, 4097, OVERWRITE, -EINVAL, "4097 is not a multiple");
	refused(path, 12288, 0, -EINVAL, "12288 is beyond the file's 8192");
	refused(odd, 0, OVERWRITE, -EINVAL, "5000 is not a multiple");
	refused(empty, 0, OVERWRITE, -EINVAL, "size is 0");
	refused(tmp_path("new"), 0, CREATE, -EINVAL, "needs a size");
	refused(path, UINT64_MAX - 4095, OVERWRITE, -EFBIG, "18446744073709547520");
	EQ(file_size(path), 8192);	/* nothing of it was touched */
	EQ(file_size(odd), 5000);
	EQ(file_size(empty), 0);
}

static void not_files(void)
{
	refused(tmpdir, 0, 0, -EISDIR, "directory");
	refused(tmpdir, MIB, OVERWRITE, -EISDIR, "directory");
	refused("/dev/null", 0, 0, -ENODEV, "not of device-dax");
	refused("/dev/null", MIB, OVERWRITE, -ENODEV, "not of device-dax");
	refused("/dev/zero", MIB, CREATE | OVERWRITE, -ENODEV, "not of device-dax");
	MUST(!mkfifo(tmp_path("fifo"), 0600));
	refused(tmp_path("fifo"), MIB, OVERWRITE, -ENODEV, "neither a regular file");
	refused("", MIB, CREATE, -ENOENT, "No such file");
}

/* What a failed open made is removed; what was there stays. */
static void made_and_removed(void)
{
	const char *path = tmp_path("made");

	refused(path, 4097, CREATE, -EINVAL, "4097");
	EQ(file_size(path), -1);
	refused(path, 0, CREATE | OVERWRITE, -EINVAL, "size is 0");
	EQ(file_size(path), -1);
	refused(path, UINT64_C(1) << 46, CREATE, -EFBIG, "made");
	EQ(file_size(path), -1);
}

static void busy(void)
{
	const char *path = tmp_file("busy", 8192, 'x');
	struct dax_device *dev = NULL;
	char pid[32];

	MUST(!dax_device_open(&dev, path, 0, 0));
	snprintf(pid, sizeof(pid), "process %d", getpid());
	refused(path, 0, 0, -EBUSY, pid);
	refused(path, 0, OVERWRITE, -EBUSY, "already open");
	refused(path, 16384, CREATE | OVERWRITE, -EBUSY, "already open");
	EQ(file_size(path), 8192);
	dax_device_put(dev);
	opens(path, 0, OVERWRITE, 8192);
}

/* Fail each allocation of each way to open; then it works. */
static void without_memory(void)
{
	const char *made = tmp_path("made"), *old = tmp_file("old", 8192, 'x');
	struct dax_device *dev = NULL;

	for (int way = 0; way < 3; way++) {
		OOM_LOOP(n) {
			int ret;

			oom_fail_nth(n);
			ret = way == 0 ? dax_device_memory(&dev, MIB) :
			      way == 1 ? dax_device_open(&dev, made, MIB, CREATE) :
					 dax_device_open(&dev, old, MIB, OVERWRITE);
			oom_clear();
			if (!oom_fired()) {
				EQ(ret, 0);
				break;
			}
			EQ(ret, -ENOMEM);
			CHECK(!dev);
			EQ(file_size(made), -1);
			EQ(file_size(old), 8192);
		}
		CHECK(oom_rounds() >= 3);
		MUST(dev);
		dax_device_put(dev);
		dev = NULL;
		sys_unlink(made);
	}
}

/* ---- translation -------------------------------------------------------------------- */

static void translation(void)
{
	const struct { uint64_t pgoff, nr; int64_t answer; } rows[] = {
		{ 0, 1, 1 }, { 0, 256, 256 }, { 0, 257, 256 }, { 0, UINT64_MAX, 256 },
		{ 255, 1, 1 }, { 255, 2, 1 }, { 100, 156, 156 }, { 100, 157, 156 },
		{ 256, 1, -ERANGE }, { UINT64_MAX, 1, -ERANGE },
		{ UINT64_MAX, UINT64_MAX, -ERANGE }, { 0, 0, -EINVAL },
		{ 256, 0, -EINVAL },
	};
	struct dax_device *dev = new_device(MIB);

	for (int i = 0; i < 13; i++) {
		dax_pfn_t pfn = 1;
		void *kaddr = &pfn;

		EQ(dax_direct_access(dev, rows[i].pgoff, rows[i].nr, &kaddr, &pfn),
		   rows[i].answer);
		if (rows[i].answer > 0) {
			CHECK(kaddr == dev->window + rows[i].pgoff * 4096);
			EQ(pfn, dev->pfn_base + rows[i].pgoff);
		} else {
			CHECK(kaddr == &pfn && pfn == 1);	/* untouched */
		}
	}
	EQ(dax_direct_access(dev, 5, 1, NULL, NULL), 1);
	dax_device_put(dev);
}

static void dead(void)
{
	struct dax_device *dev = new_device(MIB);
	struct dax_mapping *mapping = new_file(dev, MIB);
	struct dax_vma *vma = map_shared(mapping, MIB);
	struct dax_mapping_attr attr = { .struct_size = sizeof(attr), .size = 1 };
	struct dax_mapping *late = NULL;
	void *kaddr;

	EQ(dax_device_nr_files(dev), 1);
	EQ(store(vma, 0, 5), 0);
	EQ(load(vma, PAGE), 0);
	EQ(dax_device_kill(dev), 0);
	EQ(dax_device_kill(dev), 0);
	EQ(dax_device_alive(dev), 0);
	EQ(dax_direct_access(dev, 0, 1, &kaddr, NULL), -ENXIO);
	CHECK(errormsg_has("dead"));
	EQ(dax_mapping_pread(mapping, &attr, 1, 0), -ENXIO);
	EQ(dax_mapping_pwrite(mapping, &attr, 1, 0), -ENXIO);
	EQ(dax_mapping_truncate(mapping, 0), -ENXIO);
	EQ(dax_mapping_new(&late, dev, &attr), -ENXIO);
	CHECK(!late);
	EQ(store(vma, 2 * PAGE, 5), -1);
	EQ(load(vma, PAGE), 0);		/* zero pages go on working */
	EQ(load(vma, 3 * PAGE), 0);
	check_invariants(mapping);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	EQ(dax_device_nr_files(dev), 0);
	dax_device_put(dev);
}

/* ---- the file behind it ---------------------------------------------------------------- */

static void reaches_the_file(void)
{
	const char *path = tmp_path("backing");
	struct dax_device *dev = NULL;
	struct dax_mapping *mapping;
	char byte = 0;
	int fd;

	MUST(!dax_device_open(&dev, path, MIB, CREATE));
	mapping = new_file(dev, MIB);
	EQ(put(mapping, 5, 'y'), 0);
	fd = open(path, O_RDONLY);
	CHECK(pread(fd, &byte, 1, 5) == 1 && byte == 'y');
	close(fd);
	dax_mapping_put(mapping);
	dax_device_put(dev);
}

static void read_only(void)
{
	const char *path = tmp_file("readonly", MIB, 'r');
	struct dax_device *dev = NULL;
	struct dax_mapping *mapping;
	struct dax_vma *vma = NULL;
	struct dax_vma_attr attr = { .struct_size = sizeof(attr), .length = PAGE,
				     .flags = RW | DAX_VM_SHARED };

	MUST(!dax_device_open(&dev, path, 0, 0));
	EQ(dax_device_free_bytes(dev), 0);
	EQ(device_prepare_store(dev, 0, 1), -EROFS);
	mapping = new_file(dev, MIB);
	EQ(dax_mapping_pwrite(mapping, path, 1, 0), -EROFS);
	EQ(dax_mapping_pwrite(mapping, path, 1, 2 * MIB), -EROFS);
	EQ(dax_mapping_truncate(mapping, 0), -EROFS);
	EQ(dax_mapping_fallocate(mapping, 0, 1), -EROFS);
	EQ(dax_mapping_punch_hole(mapping, 0, 1), -EROFS);
	EQ(dax_mapping_size(mapping), MIB);
	EQ(dax_vma_new(&vma, mapping, &attr), -EROFS);
	CHECK(!vma && errormsg_has("read-only"));
	vma = map_private(mapping, MIB);	/* a private store needs no block */
	EQ(load(vma, 0), 0);
	EQ(store(vma, 0, 3), 0);
	EQ(load(vma, 0), 3);
	check_invariants(mapping);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	dax_device_put(dev);
	EQ(file_size(path), MIB);
}

/* Somebody cuts the file behind a device that was used already. */
static struct dax_device *shrunk(const char *name, struct dax_mapping **ret_mapping)
{
	const char *path = tmp_file(name, MIB, 'x');
	struct dax_device *dev = NULL;

	MUST(!dax_device_open(&dev, path, 0, OVERWRITE));
	*ret_mapping = new_file(dev, MIB);
	EQ(put(*ret_mapping, 0, 5), 0);
	EQ(device_verify(dev), 0);
	MUST(!truncate(path, 0));
	return dev;
}

static void backing_shrunk(void)
{
	struct dax_mapping *mapping;
	struct dax_device *dev = shrunk("shrunk", &mapping);
	struct dax_vma *vma = map_shared(mapping, MIB);
	char byte = 1;

	EQ(device_verify(dev), -EIO);
	CHECK(errormsg_has("truncated"));
	EQ(dax_mapping_pread(mapping, &byte, 1, 0), -EIO);
	EQ(dax_mapping_pwrite(mapping, &byte, 1, 0), -EIO);
	EQ(dax_mapping_pwrite(mapping, &byte, 1, PAGE), -EIO);
	EQ(dax_mapping_truncate(mapping, 1), -EIO);
	EQ(dax_mapping_punch_hole(mapping, 0, 1), -EIO);
	EQ(dax_mapping_fallocate(mapping, 0, 1), -EIO);
	EQ(dax_vma_read(vma, &byte, 1, 0, NULL), -EIO);
	EQ(dax_vma_write(vma, &byte, 1, 0, NULL), -EIO);
	EQ(dax_vma_fault_range(vma, 0, 1, 1, NULL, 0, NULL), -EIO);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	dax_device_put(dev);
}

/* No call may die of it: each is made in a child. */
static void fault_on_shrunk(int write, unsigned int flags)
{
	int status = 0;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		struct dax_mapping *mapping;
		struct dax_fault_info info = { 0 };
		struct dax_vma *vma;

		signal(SIGBUS, SIG_DFL);
		shrunk("shrunk-too", &mapping);
		vma = map_pages(mapping, MIB, flags, DAX_PAGES_AUTO);
		for (dax_pgoff_t page = 0; page < 3; page++)
			if (dax_vma_fault(vma, page, write, &info) != -EIO)
				_exit(2);
		_exit(0);
	}
	MUST(child > 0 && waitpid(child, &status, 0) == child);
	EQ(status, 0);
}

static void faults_on_shrunk(void)
{
	fault_on_shrunk(0, RW | DAX_VM_SHARED);
	fault_on_shrunk(1, RW | DAX_VM_SHARED);
	fault_on_shrunk(1, RW);
}

static void prepare_store(void)
{
	const char *path = tmp_path("sparse");
	struct dax_device *dev = NULL;
	struct stat st;

	MUST(!dax_device_open(&dev, path, 64 * MIB, CREATE));
	MUST(!stat(path, &st));
	EQ(st.st_blocks, 0);
	EQ(device_prepare_store(dev, 0, 4096), 0);
	MUST(!stat(path, &st));
	CHECK(st.st_blocks >= 8 && dev->prepared >= 4096);
	EQ(device_prepare_store(dev, 60 * MIB, 4096), 0);	/* far beyond */
	CHECK(dev->prepared < 60 * MIB);
	EQ(device_prepare_store(dev, 0, 64 * MIB), 0);
	EQ(dev->prepared, 64 * MIB);
	MUST(!stat(path, &st));
	CHECK(st.st_blocks >= 64 * MIB / 512);
	dax_device_kill(dev);
	EQ(device_prepare_store(dev, 0, 1), -ENXIO);
	dax_device_put(dev);
}

int main(void)
{
	plan(16);
	tmpdir_make();
	run("a window of memory", memory);
	run("sizes that are refused", memory_sizes);
	run("a window of a file", files);
	run("errors say what and why", errors);
	run("directories, /dev/null and pipes are refused", not_files);
	run("a failed open leaves no file", made_and_removed);
	run("a second open is busy, and says by whom", busy);
	run("every allocation fails in turn", without_memory);
	run("translation of pages", translation);
	run("a dead device", dead);
	run("stores reach the file", reaches_the_file);
	run("a read-only device", read_only);
	run("the backing file shrank: -EIO", backing_shrunk);
	run("the backing file shrank: single faults do not die", faults_on_shrunk);
	run("the medium has room before it is stored to", prepare_store);
	run("memory again, after all that", memory);
	return done();
}
