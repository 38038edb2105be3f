# Runs before a component becomes a package: compresses manual pages and changelogs, as Debian requires,
# and strips the static library like debhelper, which keeps what a linker needs.
file(GLOB_RECURSE files ${CPACK_TEMPORARY_DIRECTORY}/*)
list(FILTER files INCLUDE REGEX "/share/man/man[1-8]/[^/]*[1-8]$|/share/doc/[^/]*/changelog$")
if(files)
  execute_process(COMMAND gzip -9n ${files} COMMAND_ERROR_IS_FATAL ANY)
endif()

file(GLOB_RECURSE archives ${CPACK_TEMPORARY_DIRECTORY}/*.a)
if(archives)
  execute_process(
    COMMAND strip --strip-debug --remove-section=.comment --remove-section=.note
      --enable-deterministic-archives ${archives}
    COMMAND_ERROR_IS_FATAL ANY)
endif()
