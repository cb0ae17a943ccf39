"""The programs to learn from, and others to evaluate on: no program is in both.

Nothing was chosen by a result on the programs of the evaluation.
"""

from typing import Final, NamedTuple


class Place(NamedTuple):
    """A release of Debian for an architecture."""

    arch: str
    suite: str


# Other versions of the libraries, made by gcc 10, 12 and 14.
BASE: Final = Place("amd64", "bookworm")
OLDER: Final = Place("amd64", "bullseye")
NEWER: Final = Place("amd64", "trixie")
ARM64: Final = Place("arm64", "bookworm")
I386: Final = Place("i386", "bookworm")
PLACES: Final = (BASE, ARM64, OLDER, NEWER, I386)


class Package(NamedTuple):
    """A package of Debian with static libraries or programs, which keep the names of functions."""

    package: str
    files: tuple[str, ...]  # archives or programs in it, without folders, as patterns; linked to one binary
    language: str = "C"


LEARN: Final = {
    "zlib": Package("zlib1g-dev", ("libz.a",)),
    "lua": Package("liblua5.4-dev", ("liblua5.4.a",)),
    "png": Package("libpng-dev", ("libpng16.a",)),
    "yaml": Package("libyaml-dev", ("libyaml.a",)),
    "bzip2": Package("libbz2-dev", ("libbz2.a",)),
    "lz4": Package("liblz4-dev", ("liblz4.a",)),
    "mbedtls": Package("libmbedtls-dev", ("libmbed*.a",)),
    "xz": Package("liblzma-dev", ("liblzma.a",)),
    "zstd": Package("libzstd-dev", ("libzstd.a",)),
    "sodium": Package("libsodium-dev", ("libsodium.a",)),
    "jansson": Package("libjansson-dev", ("libjansson.a",)),
    "nettle": Package("nettle-dev", ("libnettle.a", "libhogweed.a")),
    "tiff": Package("libtiff-dev", ("libtiff.a",)),
    "jpeg": Package("libjpeg62-turbo-dev", ("libjpeg.a",)),
    "gcrypt": Package("libgcrypt20-dev", ("libgcrypt.a",)),
    "ncurses": Package("libncurses-dev", ("libncurses.a", "libtinfo.a")),
    "readline": Package("libreadline-dev", ("libreadline.a",)),
    "vorbis": Package("libvorbis-dev", ("libvorbis.a",)),
    "opus": Package("libopus-dev", ("libopus.a",)),
    "webp": Package("libwebp-dev", ("libwebp.a",)),
    "pixman": Package("libpixman-1-dev", ("libpixman-1.a",)),
    "gmp": Package("libgmp-dev", ("libgmp.a",)),
    "idn2": Package("libidn2-dev", ("libidn2.a",)),
    "json-c": Package("libjson-c-dev", ("libjson-c.a",)),
    "usb": Package("libusb-1.0-0-dev", ("libusb-1.0.a",)),
    "ssh2": Package("libssh2-1-dev", ("libssh2.a",)),
    "nghttp2": Package("libnghttp2-dev", ("libnghttp2.a",)),
    "db": Package("libdb5.3-dev", ("libdb-5.3.a",)),
    "gnutls": Package("libgnutls28-dev", ("libgnutls.a",)),
    "openssl": Package("libssl-dev", ("libssl.a",)),
    "cairo": Package("libcairo2-dev", ("libcairo.a",)),
    "re2": Package("libre2-dev", ("libre2.a",), "C++"),
    "snappy": Package("libsnappy-dev", ("libsnappy.a",), "C++"),
    "gtest": Package("libgtest-dev", ("libgtest.a",), "C++"),
    "serialization": Package("libboost-serialization1.74-dev", ("libboost_serialization.a",), "C++"),
    "yaml-cpp": Package("libyaml-cpp-dev", ("libyaml-cpp.a",), "C++"),
    "leveldb": Package("libleveldb-dev", ("libleveldb.a",), "C++"),
    "rust-std": Package("libstd-rust-dev", ("libstd-*.rlib", "liballoc-*.rlib", "libcore-*.rlib"), "Rust"),
    "jp": Package("jp", ("jp",), "Go"),
}

EVALUATE: Final = {
    "freetype": Package("libfreetype-dev", ("libfreetype.a",)),
    "expat": Package("libexpat1-dev", ("libexpat.a",)),
    "pcre2": Package("libpcre2-dev", ("libpcre2-8.a",)),
    "uv": Package("libuv1-dev", ("libuv*.a",)),
    "sqlite": Package("libsqlite3-dev", ("libsqlite3.a",)),
    "xml2": Package("libxml2-dev", ("libxml2.a",)),
    "curl": Package("libcurl4-openssl-dev", ("libcurl.a",)),
    "event": Package("libevent-dev", ("libevent.a",)),
    "archive": Package("libarchive-dev", ("libarchive.a",)),
    "glib": Package("libglib2.0-dev", ("libglib-2.0.a",)),
    "microhttpd": Package("libmicrohttpd-dev", ("libmicrohttpd.a",)),
    "confuse": Package("libconfuse-dev", ("libconfuse.a",)),
    "magic": Package("libmagic-dev", ("libmagic.a",)),
    "pugixml": Package("libpugixml-dev", ("libpugixml.a",), "C++"),
    "glog": Package("libgoogle-glog-dev", ("libglog.a",), "C++"),
    "options": Package("libboost-program-options1.74-dev", ("libboost_program_options.a",), "C++"),
    "protobuf": Package("libprotobuf-dev", ("libprotobuf-lite.a",), "C++"),
    "capnp": Package("libcapnp-dev", ("libcapnp.a", "libkj.a"), "C++"),
    "zmq": Package("libzmq3-dev", ("libzmq.a",), "C++"),
    "rust-libraries": Package(
        "libstd-rust-dev",
        tuple(
            f"lib{name}-*.rlib"
            for name in (
                "addr2line",
                "getopts",
                "gimli",
                "miniz_oxide",
                "object",
                "proc_macro",
                "test",
                "unicode_width",
            )
        ),
        "Rust",
    ),
    "shfmt": Package("shfmt", ("shfmt",), "Go"),
    "age": Package("age", ("age",), "Go"),
}

# Disassembly takes most of the time, so other places than the first two have these only.
LEARN_EVERYWHERE: Final = (
    *("zlib", "lua", "png", "yaml", "bzip2", "lz4", "mbedtls", "xz", "tiff", "jpeg", "nettle", "json-c", "ssh2"),
    *("leveldb", "gtest"),
)
# What is asked for in other builds; the base has all programs of the evaluation, among which it must be found.
QUERIES: Final = (
    *("freetype", "expat", "pcre2", "uv", "event", "archive", "microhttpd", "confuse", "magic"),
    *("pugixml", "glog", "options", "protobuf", "rust-libraries", "shfmt"),
)


class Source(NamedTuple):
    """A source package of Debian that is compiled here, without its own build system."""

    package: str
    files: tuple[str, ...]  # patterns
    flags: tuple[str, ...] = ()
    copies: tuple[tuple[str, str], ...] = ()  # files that its configure would make, from and to; "" for an empty one
    but: tuple[str, ...] = ()  # names of files that are left out
    beside: str = ""  # another source that it includes
    language: str = "C"


_FREETYPE: Final = (
    *(f"base/ft{name}.c" for name in ("base", "bbox", "bdf", "bitmap", "cid", "fstype", "gasp", "glyph", "gxval")),
    *(f"base/ft{name}.c" for name in ("init", "mm", "otval", "patent", "pfr", "stroke", "synth", "system")),
    *(f"base/ft{name}.c" for name in ("type1", "winfnt", "debug")),
    *("autofit/autofit.c", "bdf/bdf.c", "cache/ftcache.c", "cff/cff.c", "cid/type1cid.c", "gxvalid/gxvalid.c"),
    *("lzw/ftlzw.c", "otvalid/otvalid.c", "pcf/pcf.c", "pfr/pfr.c", "psaux/psaux.c", "pshinter/pshinter.c"),
    *("psnames/psmodule.c", "raster/raster.c", "sdf/sdf.c", "sfnt/sfnt.c", "smooth/smooth.c", "truetype/truetype.c"),
    *("type1/type1.c", "type42/type42.c", "winfonts/winfnt.c"),
)
_UV: Final = (
    *("async", "core", "dl", "fs", "getaddrinfo", "getnameinfo", "loop-watcher", "loop", "pipe", "poll", "process"),
    *("random-devurandom", "random-getrandom", "random-sysctl-linux", "signal", "stream", "tcp", "thread", "tty"),
    *("udp", "linux-core", "linux-inotify", "linux-syscalls", "procfs-exepath", "proctitle", "epoll"),
)

LEARN_SOURCES: Final = {
    "zlib": Source("zlib", ("*.c",)),
    "lua": Source("lua5.4", ("src/*.c",), ("-DLUA_USE_LINUX",)),
    "png": Source(
        "libpng1.6", ("png*.c",), ("-I.",), (("scripts/pnglibconf.h.prebuilt", "pnglibconf.h"),), ("pngtest.c",), "zlib"
    ),
    "yaml": Source(
        "libyaml",
        ("src/*.c",),
        (
            "-Iinclude",
            '-DYAML_VERSION_STRING="1"',
            "-DYAML_VERSION_MAJOR=0",
            "-DYAML_VERSION_MINOR=2",
            "-DYAML_VERSION_PATCH=5",
        ),
    ),
    "bzip2": Source("bzip2", ("[bcdhr]*.c",), but=("bzip2recover.c", "dlltest.c")),
    "lz4": Source("lz4", ("lib/*.c",)),
    "mbedtls": Source("mbedtls", ("library/*.c",), ("-Iinclude", "-Ilibrary")),
    "re2": Source("re2", ("re2/*.cc", "util/rune.cc", "util/strutil.cc"), ("-I.", "-std=c++17", "-pthread")),
    "tinyxml2": Source("tinyxml2", ("tinyxml2.cpp",)),
}
EVALUATE_SOURCES: Final = {
    "freetype": Source("freetype", tuple(f"src/{file}" for file in _FREETYPE), ("-Iinclude", "-DFT2_BUILD_LIBRARY")),
    "expat": Source(
        "expat",
        tuple(f"expat/lib/xml{name}.c" for name in ("parse", "role", "tok")),
        (
            "-DXML_GE=1",
            "-DXML_DTD=1",
            "-DXML_NS=1",
            "-DXML_CONTEXT_BYTES=1024",
            "-DXML_DEV_URANDOM",
            "-DBYTEORDER=1234",
        ),
        (("", "expat/lib/expat_config.h"),),
    ),
    "pcre2": Source(
        "pcre2",
        ("src/pcre2_*.c",),
        ("-DPCRE2_CODE_UNIT_WIDTH=8", "-DHAVE_CONFIG_H", "-DSUPPORT_UNICODE", "-Isrc"),
        (
            ("src/config.h.generic", "src/config.h"),
            ("src/pcre2.h.generic", "src/pcre2.h"),
            ("src/pcre2_chartables.c.dist", "src/pcre2_chartables.c"),
        ),
        ("pcre2_dftables.c", "pcre2_jit_match.c", "pcre2_jit_misc.c", "pcre2_jit_test.c", "pcre2_printint.c"),
    ),
    "uv": Source(
        "libuv1",
        ("src/*.c", *(f"src/unix/{name}.c" for name in _UV)),
        ("-Iinclude", "-Isrc", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64", "-D_LARGEFILE_SOURCE"),
    ),
    "cjson": Source("cjson", ("cJSON.c", "cJSON_Utils.c")),
    "pugixml": Source("pugixml", ("src/pugixml.cpp",), language="C++"),
    "jsoncpp": Source("libjsoncpp", ("src/lib_json/*.cpp",), ("-Iinclude", "-std=c++17"), language="C++"),
}


class Build(NamedTuple):
    """How sources are compiled."""

    compiler: str
    flags: tuple[str, ...]
    place: Place = BASE


_LEAST_BUILDS: Final = {
    "gcc12-O2": Build("gcc", ("-O2",)),
    "gcc12-O0": Build("gcc", ("-O0",)),
    "gcc12-O3": Build("gcc", ("-O3",)),
    "gcc12-Os": Build("gcc", ("-Os",)),
    "clang19-O2": Build("clang-19", ("-O2",)),
}
EVALUATE_BUILDS: Final = _LEAST_BUILDS
LEARN_BUILDS: Final = {
    **_LEAST_BUILDS,
    "clang19-O0": Build("clang-19", ("-O0",)),
    "clang19-arm64-O2": Build("clang-19", ("-O2", "--target=aarch64-linux-gnu"), ARM64),
    "clang19-i386-O2": Build("clang-19", ("-O2", "--target=i386-linux-gnu"), I386),
}

# Compilers and linkers that a machine may lack; they run from the folder in which they are unpacked.
TOOLS: Final = (
    "clang-19",
    "lld-19",
    "libclang-cpp19",
    "libclang-common-19-dev",
    "libllvm19",
    "libz3-4",
    "libedit2",
    "libbsd0",
)
# The C library, whose functions a binary imports; only then its imports look as they do in programs.
C_LIBRARY: Final = ("libc6", "libc6-dev", "linux-libc-dev")
