# Applies VITRIFY_SANITIZE (a comma-separated list as -fsanitize= takes it) to every target.
if(VITRIFY_SANITIZE)
  add_compile_options(-fsanitize=${VITRIFY_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all -g1)
  add_link_options(-fsanitize=${VITRIFY_SANITIZE})
endif()
# Fuzzers see into the libraries through the coverage that these are built with.
if(VITRIFY_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
