/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * devdax.c -- the library on a real device-dax node, in the VM
 *
 * Argument: the node.  What is on it is lost.  TAP on standard output.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "../c/tap.h"
#include "daxcore.h"

#define MIB	(1UL << 20)
#define PAGE	4096UL
#define PMD	(2 * MIB)

static const char *node;
static struct dax_device *dev;

static struct dax_mapping *new_file(dax_loff_t size)
{
	struct dax_mapping_attr attr = {
		.struct_size = sizeof(attr), .size = size
	};
	struct dax_mapping *mapping;

	MUST(!dax_mapping_new(&mapping, dev, &attr));
	return mapping;
}

/* Return: 0 or -errno. */
static int map_file(struct dax_vma **ret_vma, struct dax_mapping *mapping,
		    unsigned int backend, unsigned int pages, unsigned int flags)
{
	struct dax_vma_attr attr = {
		.struct_size = sizeof(attr), .length = dax_mapping_size(mapping),
		.flags = DAX_VM_READ | DAX_VM_WRITE | flags,
		.pages = pages, .backend = backend,
	};

	return dax_vma_new(ret_vma, mapping, &attr);
}

static uint64_t stat_value(struct dax_mapping *mapping, const char *name)
{
	uint64_t values[256];
	size_t nr = dax_mapping_stats(mapping, values, 256);

	for (size_t i = 0; i < nr; i++)
		if (!strcmp(dax_stat_name(i), name))
			return values[i];
	return UINT64_MAX;
}

static dax_loff_t block_of(struct dax_mapping *mapping, dax_loff_t pos)
{
	struct dax_extent extent;

	MUST(dax_mapping_extents(mapping, &pos, &extent, 1) == 1);
	return extent.device_offset;
}

/* ---- the node -------------------------------------------------------- */

static void opens(void)
{
	MUST(!dax_device_open(&dev, node, 0, DAX_DEVICE_OVERWRITE));
	EQ(dax_device_alive(dev), 1);
	EQ(dax_device_readonly(dev), 0);
	CHECK(strstr(dax_device_durability(dev), "persistent memory"));
	printf("# %s: %" PRIu64 " bytes, alignment %" PRIu64 ", %s\n", node,
	       dax_device_size(dev), dax_device_alignment(dev),
	       dax_device_durability(dev));
}

static void alignment_is_the_nodes(void)
{
	uint64_t want = strstr(node, "2m") ? PMD : PAGE;

	EQ(dax_device_alignment(dev), want);
	EQ(dax_device_size(dev) % want, 0);
	CHECK(dax_device_size(dev) >= 32 * MIB);
}

static void refuses(void)
{
	uint64_t alignment = dax_device_alignment(dev);
	struct dax_device *other;

	EQ(dax_device_open(&other, node, 0, DAX_DEVICE_OVERWRITE), -EBUSY);
	dax_device_put(dev);
	EQ(dax_device_open(&other, node, alignment + PAGE / 2,
			   DAX_DEVICE_OVERWRITE), -EINVAL);
	EQ(dax_device_open(&other, node, 1UL << 40, DAX_DEVICE_OVERWRITE),
	   -EINVAL);
	if (alignment > PAGE)
		EQ(dax_device_open(&other, node, alignment + PAGE,
				   DAX_DEVICE_OVERWRITE), -EINVAL);
	MUST(!dax_device_open(&dev, node, 0, DAX_DEVICE_OVERWRITE));
}

static void stores_and_loads(void)
{
	char buf[100] = "on the medium", got[100];

	EQ(dax_device_store(dev, 12345, buf, sizeof(buf)), 0);
	EQ(dax_device_flush(dev, 12345, sizeof(buf)), 0);
	EQ(dax_device_fence(dev), 0);
	EQ(dax_device_load(dev, 12345, got, sizeof(got)), 0);
	EQ(memcmp(buf, got, sizeof(buf)), 0);
}

/* ---- files on it ----------------------------------------------------- */

static void hole_takes_nothing(void)
{
	struct dax_mapping *mapping = new_file(8 * MIB);
	uint64_t free_bytes = dax_device_free_bytes(dev);
	struct dax_vma *vma;
	char got[PAGE];

	MUST(!map_file(&vma, mapping, DAX_BACKEND_SOFT, DAX_PAGES_AUTO,
		       DAX_VM_SHARED));
	for (uint64_t at = 0; at < 8 * MIB; at += PAGE) {
		EQ(dax_vma_read(vma, got, PAGE, at, NULL), PAGE);
		MUST(!got[0] && !memcmp(got, got + 1, PAGE - 1));
	}
	EQ(dax_device_free_bytes(dev), free_bytes);
	EQ(stat_value(mapping, "pmd_load_hole"), 4);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
}

/* Pages written back by what the trace has seen. */
static uint64_t pages_flushed(struct dax_trace *trace)
{
	struct dax_trace_event events[64];
	int64_t nr = dax_trace_read(trace, events, 64);
	uint64_t pages = 0;

	for (int64_t i = 0; i < nr; i++)
		if (events[i].event == DAX_TRACE_WRITEBACK_ONE)
			pages += events[i].nr_pages;
	return pages;
}

static void write_and_fsync(unsigned int pages, uint64_t flushed)
{
	struct dax_mapping *mapping = new_file(4 * MIB);
	char text[] = "stored", got[sizeof(text)];
	struct dax_trace *trace;
	struct dax_vma *vma;

	MUST(!map_file(&vma, mapping, DAX_BACKEND_SOFT, pages, DAX_VM_SHARED));
	EQ(dax_vma_write(vma, text, sizeof(text), 2 * MIB + 5, NULL), sizeof(text));
	EQ(dax_mapping_pread(mapping, got, sizeof(got), 2 * MIB + 5), sizeof(got));
	EQ(strcmp(got, text), 0);
	MUST(!dax_trace_start(&trace, mapping, 0));
	EQ(dax_mapping_fsync(mapping, NULL), 0);
	EQ(pages_flushed(trace), flushed);
	EQ(dax_mapping_fsync(mapping, NULL), 0);
	EQ(pages_flushed(trace), 0);
	dax_trace_free(trace);
	EQ(dax_device_load(dev, block_of(mapping, 2 * MIB) + 5, got, sizeof(got)), 0);
	EQ(strcmp(got, text), 0);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
}

static void write_4k(void)
{
	write_and_fsync(DAX_PAGES_PTE, 1);
}

static void write_2m(void)
{
	write_and_fsync(DAX_PAGES_AUTO, PMD / PAGE);
}

static void sync_mapping(void)
{
	struct dax_mapping *mapping = new_file(4 * MIB);
	struct dax_vma *vma;

	EQ(map_file(&vma, mapping, DAX_BACKEND_SOFT, DAX_PAGES_AUTO,
		    DAX_VM_SHARED | DAX_VM_SYNC), 0);
	EQ(dax_vma_write(vma, "x", 1, 0, NULL), 1);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
}

static void full(void)
{
	uint64_t size = dax_device_free_bytes(dev) + PMD;
	struct dax_mapping *mapping = new_file(size);
	struct dax_fault_info info;
	struct dax_vma *vma;
	ssize_t ret;

	MUST(!map_file(&vma, mapping, DAX_BACKEND_SOFT, DAX_PAGES_AUTO,
		       DAX_VM_SHARED));
	ret = dax_vma_fault_range(vma, 0, size / PAGE, 1, NULL, 0, &info);
	EQ(ret, -ENOSPC);
	EQ(info.fault & DAX_VM_FAULT_SIGBUS, DAX_VM_FAULT_SIGBUS);
	EQ(dax_device_free_bytes(dev), 0);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
	CHECK(dax_device_free_bytes(dev) > 0);
}

/* ---- addresses ------------------------------------------------------- */

/* Read a hole, store into it, look at both ways and at the medium. */
static void use_addresses(struct dax_mapping *mapping, struct dax_vma *vma)
{
	volatile char *at = dax_vma_address(vma);
	char got;

	for (uint64_t pos = 0; pos < 4 * MIB; pos += PAGE)
		MUST(!at[pos]);
	at[PAGE + 7] = 'a';
	at[2 * MIB] = 'b';
	EQ(at[PAGE + 7], 'a');
	EQ(at[PAGE - 1], 0);
	EQ(dax_mapping_pread(mapping, &got, 1, PAGE + 7), 1);
	EQ(got, 'a');
	EQ(dax_mapping_pwrite(mapping, "c", 1, PAGE + 8), 1);
	EQ(at[PAGE + 8], 'c');
	EQ(dax_mapping_fsync(mapping, NULL), 0);
	EQ(dax_device_load(dev, block_of(mapping, 2 * MIB), &got, 1), 0);
	EQ(got, 'b');
	EQ(dax_mapping_punch_hole(mapping, 0, 4 * MIB), 0);
	EQ(at[PAGE + 7], 0);
	EQ(at[2 * MIB], 0);
}

static void addresses_by(unsigned int pages)
{
	struct dax_mapping *mapping = new_file(4 * MIB);
	bool can = dax_device_alignment(dev) == PAGE || pages == DAX_PAGES_PMD;
	struct dax_vma *vma;
	int ret = map_file(&vma, mapping, DAX_BACKEND_REAL, pages, DAX_VM_SHARED);

	if (can) {
		EQ(ret, 0);
		if (ret)
			printf("# %s\n", dax_errormsg());
		else
			use_addresses(mapping, vma);
	} else {
		EQ(ret, -EOPNOTSUPP);
		printf("# refused: %s\n", dax_errormsg());
	}
	if (!ret)
		dax_vma_put(vma);
	dax_mapping_put(mapping);
}

static void addresses_auto(void)
{
	addresses_by(DAX_PAGES_AUTO);
}

static void addresses_pte(void)
{
	addresses_by(DAX_PAGES_PTE);
}

static void addresses_pmd(void)
{
	addresses_by(DAX_PAGES_PMD);
}

/* ---- again ----------------------------------------------------------- */

/* What was flushed is there for the next who maps the node. */
static void others_see_it(void)
{
	uint64_t length = dax_device_size(dev);
	char *at;
	int fd;

	EQ(dax_device_store(dev, 4 * MIB + 1, "kept", 5), 0);
	EQ(dax_device_flush(dev, 4 * MIB + 1, 5), 0);
	EQ(dax_device_fence(dev), 0);
	dax_device_put(dev);
	fd = open(node, O_RDWR);
	MUST(fd >= 0);
	at = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, 0);
	MUST(at != MAP_FAILED);
	EQ(strcmp(at + 4 * MIB + 1, "kept"), 0);
	munmap(at, length);
	close(fd);
}

static void dies(void)
{
	struct dax_mapping *mapping;
	char got;

	MUST(!dax_device_open(&dev, node, 0, DAX_DEVICE_OVERWRITE));
	mapping = new_file(MIB);
	EQ(dax_mapping_pwrite(mapping, "x", 1, 0), 1);
	EQ(dax_device_kill(dev), 0);
	EQ(dax_mapping_pread(mapping, &got, 1, 0), -ENXIO);
	dax_mapping_put(mapping);
	dax_device_put(dev);
}

int main(int argc, char **argv)
{
	MUST(argc == 2);
	node = argv[1];
	plan(14);
	run("opens", opens);
	run("alignment_is_the_nodes", alignment_is_the_nodes);
	run("refuses", refuses);
	run("stores_and_loads", stores_and_loads);
	run("hole_takes_nothing", hole_takes_nothing);
	run("write_4k", write_4k);
	run("write_2m", write_2m);
	run("sync_mapping", sync_mapping);
	run("full", full);
	run("addresses_auto", addresses_auto);
	run("addresses_pte", addresses_pte);
	run("addresses_pmd", addresses_pmd);
	run("others_see_it", others_see_it);
	run("dies", dies);
	return done();
}
