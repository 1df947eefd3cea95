/* A daemon in C, on libfuse: to remove a file it removes it from its own mount.
 *
 *     cc reentered.c $(pkg-config --cflags --libs fuse3) && ./a.out -f [-s] MOUNTPOINT
 */
#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fuse.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char mountpoint[4096];

static int get_attributes(const char *path, struct stat *found, struct fuse_file_info *info)
{
	int is_root = strcmp(path, "/") == 0;

	(void)info;
	if (!is_root && strcmp(path, "/file") != 0)
		return -ENOENT;
	found->st_mode = is_root ? S_IFDIR | 0755 : S_IFREG | 0644;
	found->st_nlink = 1;
	return 0;
}

static int remove_file(const char *path)
{
	char own[8192];

	if (fuse_get_context()->pid == getpid())
		return 0;
	snprintf(own, sizeof(own), "%s%s", mountpoint, path);
	return unlink(own) == -1 ? -errno : 0;
}

static const struct fuse_operations operations = {
	.getattr = get_attributes,
	.unlink = remove_file,
};

int main(int argc, char *argv[])
{
	snprintf(mountpoint, sizeof(mountpoint), "%s", argv[argc - 1]);
	return fuse_main(argc, argv, &operations, NULL);
}
