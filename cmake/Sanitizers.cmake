# Applies VITRIFY_SANITIZE (a comma-separated list as -fsanitize= takes it) to every target.
if(VITRIFY_SANITIZE)
  add_compile_options(-fsanitize=${VITRIFY_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all -g1)
  add_link_options(-fsanitize=${VITRIFY_SANITIZE})
endif()
