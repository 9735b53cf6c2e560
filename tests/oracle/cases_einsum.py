"""Cases of the op in src/ops/einsum.c."""
import torch

from harness import case, real, refuses, sample


def einsum(*inputs, equation):
    return torch.einsum(equation, *inputs)


case("einsum", einsum,
     sample(real(3, 4), real(4, 5), equation="ij,jk->ik"),
     sample(real(3, 4), real(4, 5), equation="ij, jk"),
     sample(real(2, 3, 4), real(2, 4, 5), equation="bij,bjk->bki"),
     sample(real(4), real(5), equation="i,j->ji"),
     sample(real(4, 4), equation="ii"),
     sample(real(4, 4), equation="ii->i"),
     sample(real(3, 4), equation="ij->ji"),
     sample(real(3, 4, 5), equation="Abc->c"),
     sample(real(2, 3, 4), real(4, 5), equation="...i,ij->...j"),
     sample(real(2, 1, 3, 4), real(6, 4, 3), equation="...ij,...ji->..."),
     sample(real(2, 3), real(2, 4), real(3, 4, 5), equation="bi,bj,ijo->bo"),
     sample(real(2, 3, 4), real(2, 3, 4), equation="bij,bij->b"),
     sample(real(3, 4), real(3, 4), equation="ij,ij->ij"),
     sample(real(2, 5, 3, 4), real(2, 6, 3, 4), equation="bqhd,bkhd->bhqk"),
     sample(real(3, 1), real(3, 4), equation="ij,ij->i"),
     sample(real(3, 3, 4, 4), equation="aabb->ab"),
     loosen=2)

refuses("einsum", sample(real(3, 4), real(5, 6), equation="ij,jk->ik"), "4 and 5")
refuses("einsum", sample(real(3, 4), equation="ijk->i"), "dimensions")
refuses("einsum", sample(real(3, 4), equation="ij->k"), "result")
refuses("einsum", sample(real(3, 4), equation="ij,jk->ik"), "more terms")
refuses("einsum", sample(real(3, 4), real(4, 5), equation="ij->i"), "fewer terms")
refuses("einsum", sample(real(3, 4), equation="i1->i"), "only letters|dimensions")
