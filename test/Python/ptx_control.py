def lane_programs():
    return []
barrier_programs = copy_programs = matrix_move_programs = control_programs = move_programs = lane_programs
